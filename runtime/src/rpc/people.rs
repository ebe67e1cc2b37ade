//! Who is in an answer, so that their names can be told with it.

use std::collections::BTreeSet;

use skep_actors::account::messages::{AccountView, ContactView, LinkView, RequestView};
use skep_actors::call::conference::messages::ConferenceView;
use skep_actors::call::messages::CallView;
use skep_actors::swarm::messages::{ConversationView, MemberView, MessageView, Page};
use skep_actors::swarm::router::messages::RoutesView;
use skep_protocol::ids::AccountId;

/// The detail of a commit about a member that says whom it is about.
const MEMBER: &str = "uri";

/// An answer, or a part of one.
pub(super) trait People {
    /// Adds everybody who is in it.
    fn gather(&self, people: &mut BTreeSet<AccountId>);
}

/// Everybody who is in an answer.
pub(super) fn people_in<T: People + ?Sized>(answer: &T) -> BTreeSet<AccountId> {
    let mut people = BTreeSet::new();
    answer.gather(&mut people);
    people
}

impl<T: People> People for [T] {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        self.iter().for_each(|part| part.gather(people));
    }
}

impl People for AccountView {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        people.insert(self.id);
    }
}

impl People for ContactView {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        people.insert(self.id);
    }
}

impl People for RequestView {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        people.insert(self.from);
    }
}

impl People for CallView {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        people.insert(self.peer);
        people.extend(self.people.iter().filter_map(|it| it.person.parse::<AccountId>().ok()));
    }
}

impl People for ConferenceView {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        people.extend(self.people.iter().filter_map(|it| it.person.parse::<AccountId>().ok()));
    }
}

impl People for LinkView {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        people.insert(self.account);
    }
}

impl People for MemberView {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        people.insert(self.id);
    }
}

impl People for ConversationView {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        self.members.gather(people);
        // Who voted is a member. Who offered something that was refused may be none any more.
        people.extend(self.refusals.iter().filter_map(|refusal| refusal.peer));
    }
}

impl People for MessageView {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        people.insert(self.author);
        people.extend(self.reactions.iter().map(|reaction| reaction.author));
        // Of other kinds it may be something else's id.
        if matches!(self.kind.as_str(), "member" | "vote") {
            people.extend(self.details.get(MEMBER).and_then(|id| id.parse::<AccountId>().ok()));
        }
    }
}

impl People for Page {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        self.messages.gather(people);
    }
}

impl People for RoutesView {
    fn gather(&self, people: &mut BTreeSet<AccountId>) {
        people.extend(self.nodes.iter().filter_map(|node| node.account));
        people.extend(self.direct.iter().map(|direct| direct.account));
    }
}
