//! People on Skep and on daemons, over Jami's DHT, in groups.

use std::collections::{BTreeMap, BTreeSet};

use skep::rpc::schema::{ConversationParams, ProfileParams, method};
use skep::{AccountId, ConversationId, ProfileChange};
use skep_tests::daemon::{Daemon, DaemonAccount};
use skep_tests::harness::{Failure, Mark, Newcomer, Person, Place, until};
use skep_tests::live::{Direction, Lab};

/// Whoever takes part, on either.
pub(crate) enum Member {
    Skep(Box<Person>),
    Jami(Box<Daemon>, DaemonAccount),
}

use Member::{Jami, Skep};

impl Member {
    async fn on_skep(lab: &mut Lab, number: usize, name: &str) -> Self {
        let node = lab.skep_on_opendht(name).unwrap();
        let mut person = Person::arrive(&Newcomer::real(number, name), node).await.unwrap();
        person.announced().await.unwrap();
        Skep(Box::new(person))
    }

    async fn on_jami(lab: &mut Lab, number: usize, name: &str) -> Self {
        let daemon = lab.daemon(name).await.unwrap();
        let account = daemon.arrive(&Newcomer::real(number, name)).await.unwrap();
        Jami(Box::new(daemon), account)
    }

    pub(crate) fn id(&self) -> AccountId {
        match self {
            Skep(person) => person.id,
            Jami(_, account) => account.id,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Skep(person) => person.node.name(),
            Jami(daemon, _) => daemon.name(),
        }
    }

    /// The end of what was told so far.
    fn mark(&self) -> Mark {
        match self {
            Skep(person) => person.node.events().mark(),
            Jami(daemon, _) => daemon.events().mark(),
        }
    }

    /// Asks somebody, who accepts: both are contacts afterwards and have a conversation of two.
    pub(crate) async fn befriend(&mut self, other: &mut Self) -> ConversationId {
        match (self, other) {
            (Skep(one), Skep(other)) => one.befriend(other).await.unwrap(),
            (Jami(daemon, one), Jami(its, other)) => daemon.befriend(one, its, other).await.unwrap(),
            (Skep(person), Jami(daemon, account)) => {
                let since = daemon.events().mark();
                let id = person.add(account.id).await.unwrap();
                assert_eq!(daemon.request_after(since, account, person.id).await.unwrap(), id);
                daemon.accept(account, person.id).await.unwrap();
                daemon.ready(account, id).await.unwrap();
                person.confirmed(account.id).await.unwrap();
                person.joined(account.id, id).await.unwrap();
                id
            }
            (Jami(daemon, account), Skep(person)) => {
                let since = person.node.events().mark();
                daemon.add_contact(account, person.id).await.unwrap();
                let id = person.asked_by(account.id, since).await.unwrap();
                assert_eq!(person.accept(account.id).await.unwrap(), id);
                person.ready(id, since).await.unwrap();
                daemon.joined(account, id, person.id).await.unwrap();
                id
            }
        }
    }

    /// Makes a group in which every member invites.
    pub(crate) async fn found(&mut self) -> ConversationId {
        match self {
            Skep(person) => person.found("Friends").await.unwrap(),
            Jami(daemon, account) => daemon.found(account).await.unwrap(),
        }
    }

    /// Invites somebody, who sees it.
    pub(crate) async fn invite(&mut self, other: &Self, id: ConversationId) {
        let since = other.mark();
        self.add(other.id(), id).await;
        match other {
            Skep(person) => assert_eq!(person.invited(id, since).await.unwrap(), self.id()),
            Jami(daemon, account) => daemon.invited(account, id, since).await.unwrap(),
        }
    }

    /// Invites somebody, or lets somebody in again who was banned.
    pub(crate) async fn add(&mut self, other: AccountId, id: ConversationId) {
        match self {
            Skep(person) => assert!(person.invite(id, other).await.unwrap().decided),
            Jami(daemon, account) => daemon.invite(account, id, other).await.unwrap(),
        }
    }

    /// Accepts an invitation, and has the group.
    pub(crate) async fn enter(&mut self, id: ConversationId) {
        match self {
            Skep(person) => {
                let since = person.node.events().mark();
                person.enter(id).await.unwrap();
                person.ready(id, since).await.unwrap();
            }
            Jami(daemon, account) => {
                daemon.enter(account, id).await.unwrap();
                daemon.ready(account, id).await.unwrap();
            }
        }
    }

    /// Declines an invitation.
    pub(crate) async fn decline(&mut self, id: ConversationId) {
        match self {
            Skep(person) => {
                let params = ConversationParams { account: person.local, conversation: id };
                person.node.call(method::ConversationDecline, params).await.unwrap();
            }
            Jami(daemon, account) => daemon.turn_down(account, id).await.unwrap(),
        }
    }

    /// Has no invitation that waits for an answer.
    pub(crate) async fn has_no_invitation(&mut self) {
        match self {
            Skep(person) => assert!(person.requests().await.unwrap().is_empty()),
            Jami(daemon, account) => assert!(daemon.invitations(account).await.unwrap().is_empty()),
        }
    }

    /// Leaves a group.
    pub(crate) async fn leave(&mut self, id: ConversationId) {
        match self {
            Skep(person) => {
                let params = ConversationParams { account: person.local, conversation: id };
                person.node.call(method::ConversationLeave, params).await.unwrap();
            }
            Jami(daemon, account) => daemon.leave(account, id).await.unwrap(),
        }
    }

    /// Votes to ban somebody.
    pub(crate) async fn ban(&mut self, other: AccountId, id: ConversationId) {
        match self {
            Skep(person) => {
                let params = person.against(other, id);
                person.node.call(method::ConversationBan, params).await.unwrap();
            }
            Jami(daemon, account) => daemon.ban(account, id, other).await.unwrap(),
        }
    }

    /// Waits until somebody has a role in a group, or none. A member who is there writes once more if that takes
    /// a new start of a daemon.
    pub(crate) async fn sees(
        &mut self,
        who: AccountId,
        role: Option<&str>,
        id: ConversationId,
        there: &mut Self,
    ) {
        match self {
            Skep(person) => person.sees(who, role, id).await.unwrap(),
            Jami(daemon, account) => {
                let seen = async |daemon: &Daemon| daemon.sees(account, id, who, role).await;
                daemon.unless_it_stands_still(seen, there.says_more(id)).await.unwrap();
            }
        }
    }

    /// Changes title and description of a group.
    pub(crate) async fn describe(&mut self, id: ConversationId, title: &str, description: &str) {
        match self {
            Skep(person) => {
                let profile = ProfileChange {
                    title: Some(title.to_owned()),
                    description: Some(description.to_owned()),
                    ..ProfileChange::default()
                };
                let params = ProfileParams { account: person.local, conversation: id, profile };
                person.node.call(method::ConversationSetProfile, params).await.unwrap();
            }
            Jami(daemon, account) => {
                let profile = [("title", title), ("description", description)];
                daemon.set_profile(account, id, &profile).await.unwrap();
            }
        }
    }

    /// Waits until title and description of a group are these.
    pub(crate) async fn shows(&mut self, id: ConversationId, title: &str, description: &str) {
        match self {
            Skep(person) => {
                let name = person.node.name().to_owned();
                let params = ConversationParams { account: person.local, conversation: id };
                until(&name, format!("a profile {title:?} {description:?}"), async || {
                    let view = person.node.call(method::ConversationProfile, params.clone()).await?;
                    Ok((view.title == title && view.description == description).then_some(()))
                })
                .await
                .unwrap();
            }
            Jami(daemon, account) => {
                let profile = [("title", title), ("description", description)];
                daemon.profiled(account, id, &profile).await.unwrap();
            }
        }
    }

    /// Sends a text.
    pub(crate) async fn say(&mut self, id: ConversationId, text: &str) {
        match self {
            Skep(person) => drop(person.send(id, text).await.unwrap()),
            Jami(daemon, account) => daemon.send(account, id, text).await.unwrap(),
        }
    }

    /// Sends a text, if that is not refused because one knows already that one is banned.
    pub(crate) async fn tries_to_say(&mut self, id: ConversationId, text: &str) {
        match self {
            Skep(person) => match person.send(id, text).await {
                Ok(_) | Err(Failure::Refused { .. }) => (),
                Err(error) => panic!("{error}"),
            },
            Jami(..) => self.say(id, text).await,
        }
    }

    /// Says something that nobody waits for.
    async fn says_more(&mut self, id: ConversationId) {
        self.say(id, "and so on").await;
    }

    /// Waits until told of a text. A member who is there writes once more if that takes a new start of a daemon.
    pub(crate) async fn hears(&mut self, id: ConversationId, text: &str, there: &mut Self) {
        match self {
            Skep(person) => drop(person.receives(id, text).await.unwrap()),
            Jami(daemon, account) => {
                let heard = async |daemon: &Daemon| daemon.received(account, id, text).await;
                daemon.unless_it_stands_still(heard, there.says_more(id)).await.unwrap();
            }
        }
    }

    /// How often each text is in the history now.
    pub(crate) async fn texts(&mut self, id: ConversationId) -> BTreeMap<String, usize> {
        let bodies: Vec<String> = match self {
            Skep(person) => person.messages(id).await.unwrap().into_iter().map(|it| it.body).collect(),
            Jami(daemon, account) => {
                let history = daemon.history(account, id).await.unwrap();
                history.into_iter().filter_map(|mut commit| commit.remove("body")).collect()
            }
        };
        let mut counts = BTreeMap::new();
        for body in bodies {
            *counts.entry(body).or_insert(0) += 1;
        }
        counts
    }

    /// The ids of all texts, in an order that is everybody's.
    async fn said(&mut self, id: ConversationId) -> Vec<String> {
        let mut said: Vec<String> = match self {
            Skep(person) => {
                let texts = person.messages(id).await.unwrap().into_iter().filter(|it| !it.body.is_empty());
                texts.map(|it| it.id.to_string()).collect()
            }
            Jami(daemon, account) => {
                let history = daemon.history(account, id).await.unwrap();
                let texts = history.into_iter().filter(|commit| commit.contains_key("body"));
                texts.filter_map(|mut commit| commit.remove("id")).collect()
            }
        };
        said.sort();
        said
    }

    /// Where it runs.
    pub(crate) fn place(&self) -> Place {
        match self {
            Skep(person) => person.node.setup().place().clone(),
            Jami(daemon, _) => daemon.place().clone(),
        }
    }

    /// The ids of all commits.
    async fn commits(&mut self, id: ConversationId) -> BTreeSet<String> {
        match self {
            Skep(person) => person.log(id).await.unwrap().iter().map(ToString::to_string).collect(),
            Jami(daemon, account) => {
                let history = daemon.history(account, id).await.unwrap();
                history.into_iter().filter_map(|mut commit| commit.remove("id")).collect()
            }
        }
    }

    /// Ends in order.
    pub(crate) async fn end(self) {
        if let Skep(mut person) = self {
            person.node.stop().await.unwrap();
        }
    }
}

/// People who know each other through the first of them, who is on Skep if the groups are made there, else on
/// a daemon; every second one is on the other side, and daemons know each other. Dropped before the laboratory.
pub(crate) async fn meet<const COUNT: usize>(
    lab: &mut Lab,
    names: [&str; COUNT],
    made: Direction,
) -> ([Member; COUNT], Vec<ConversationId>) {
    let mut members = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let on_skep = (index % 2 == 0) == (made == Direction::ToDaemon);
        let member = if on_skep {
            Member::on_skep(lab, index, name).await
        } else {
            Member::on_jami(lab, index, name).await
        };
        members.push(member);
    }
    let mut pairs = Vec::new();
    if let [first, others @ ..] = &mut *members {
        for other in &mut *others {
            pairs.push(first.befriend(other).await);
        }
        // Two daemons that meet in a group connect and fetch both at once, which now and then never ends.
        let mut daemons = others.iter_mut().filter(|other| matches!(other, Jami(..)));
        if let (Some(one), Some(other)) = (daemons.next(), daemons.next()) {
            one.befriend(other).await;
        }
    }
    let Ok(members) = members.try_into() else { panic!("as many as names") };
    (members, pairs)
}

/// A group of the first of them, which all others have joined and see each other in.
pub(crate) async fn gather(members: &mut [Member]) -> ConversationId {
    let ids: Vec<_> = members.iter().map(Member::id).collect();
    let [host, guests @ ..] = &mut *members else { panic!("nobody to gather") };
    let id = host.found().await;
    for guest in guests {
        join(host, guest, id).await;
    }
    for index in 0..members.len() {
        let (member, there) = beside(members, index);
        for other in ids.iter().skip(1) {
            member.sees(*other, Some("member"), id, there).await;
        }
    }
    id
}

/// One of them, and another.
pub(crate) fn beside(members: &mut [Member], index: usize) -> (&mut Member, &mut Member) {
    let [one, other] = members.get_disjoint_mut([index, usize::from(index == 0)]).unwrap();
    (one, other)
}

/// Invites somebody, who accepts and is seen.
pub(crate) async fn join(host: &mut Member, guest: &mut Member, id: ConversationId) {
    host.invite(guest, id).await;
    guest.enter(id).await;
    host.sees(guest.id(), Some("member"), id, guest).await;
}

/// Each says something, one after another, which all others hear.
pub(crate) async fn talk(members: &mut [Member], id: ConversationId, about: &str) {
    for speaker in 0..members.len() {
        let text = format!("{} about {about}", members[speaker].name());
        members[speaker].say(id, &text).await;
        for listener in (0..members.len()).filter(|index| *index != speaker) {
            let [listener, speaker] = members.get_disjoint_mut([listener, speaker]).unwrap();
            listener.hears(id, &text, speaker).await;
        }
    }
}

/// Waits until all have the same commits, and so the same head, and show the same texts. Daemons of 2023 list
/// those of one second in an order of their own.
pub(crate) async fn same_history(members: &mut [Member], id: ConversationId) {
    let mut last = Vec::new();
    let same = until("all", "the same history", async || {
        last.clear();
        for member in members.iter_mut() {
            last.push((member.name().to_owned(), member.commits(id).await, member.said(id).await));
        }
        let commits: BTreeSet<_> = last.iter().map(|(_, commits, _)| commits).collect();
        let said: BTreeSet<_> = last.iter().map(|(_, _, said)| said).collect();
        Ok((commits.len() == 1 && said.len() == 1 && !said.contains(&Vec::new())).then_some(()))
    })
    .await;
    let common = last.iter().map(|(_, commits, _)| commits.clone()).reduce(|one, other| &one & &other);
    let differences: Vec<_> = last
        .iter()
        .map(|(name, commits, said)| {
            let own: Vec<_> = commits.difference(common.as_ref().unwrap_or(commits)).collect();
            format!("{name} has {} commits, not common: {own:?}, said: {said:?}", commits.len())
        })
        .collect();
    assert!(same.is_ok(), "{same:?}\n{differences:#?}");
}
