//! What may be done, asked without doing it: for buttons to be there or not, and for saying why not.

use super::{CreateError, Writer};
use crate::ids::{AccountId, CommitId};
use crate::profile::ConversationProfile;
use crate::swarm::layout::VoteAction;
use crate::swarm::message::{Mode, Target};
use crate::swarm::object::ObjectSource;
use crate::swarm::validate::Founding;

/// Something a person may want to do in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// Writing: a text, a file, a call.
    Say,
    /// Changing or taking back a message.
    Edit(CommitId),
    /// Inviting somebody.
    Invite(AccountId),
    /// Taking up the invitation.
    Join,
    /// Leaving.
    Leave,
    /// Voting to ban or unban a person or device.
    Vote(VoteAction, Target),
    /// Changing title, description and picture.
    ChangeProfile,
}

impl<S: ObjectSource> Writer<'_, S> {
    /// Whether this may be done now. What may be done can still fail when the store does.
    ///
    /// Who may invite is a rule that everybody keeps for himself: where only admins invite, others
    /// that do so all the same are not refused (`spec: swarm 2`).
    ///
    /// # Errors
    /// [`CreateError`] says why not.
    pub fn may(&self, act: Act, founding: &Founding) -> Result<(), CreateError> {
        match act {
            Act::Say | Act::Edit(_) if founding.mode == Mode::Document => Err(CreateError::Document),
            Act::Say => self.require_member(),
            Act::Edit(message) => self.require_member().and_then(|()| self.require_editable(message)),
            Act::Invite(person) => self.invite(person, founding).map(drop),
            Act::Join => self.join().map(drop),
            Act::Leave => self.leave().map(drop),
            Act::Vote(action, target) => self.vote(action, target).map(drop),
            Act::ChangeProfile => self.profile(&ConversationProfile::default()).map(drop),
        }
    }
}
