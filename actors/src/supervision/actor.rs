//! The trait that every subsystem implements.

use futures::future::LocalBoxFuture;

use super::policy::Policy;
use super::scope::Scope;

/// Something that is sent to an actor: usually an enum, one variant for each thing it can be asked.
pub trait Message: Send + 'static {
    /// Name of the variant, for metrics and logs.
    fn kind(&self) -> &'static str;

    /// What a full mailbox does with this message.
    fn policy(&self) -> Policy;

    /// Takes in a newer message of the same kind and key, which goes with this one
    /// ([`Policy::Coalesce`]): by default, the newer one says it all.
    fn coalesce(&mut self, newer: Self)
    where
        Self: Sized,
    {
        *self = newer;
    }
}

/// One subsystem: state that only its own turns touch.
///
/// A turn must not block: disk, RSA and waiting go to [`Scope::spawn`].
pub trait Actor: Sized + Unpin + 'static {
    /// What can be sent to it.
    type Message: Message;

    /// Name of the actor kind, for the tree and for metrics: `"dht"`, `"account"`.
    const KIND: &'static str;

    /// The first turn of a new actor, also after a restart: load state, start children and timers.
    fn started(&mut self, _scope: &mut Scope<'_, Self>) {}

    /// Handles one message.
    fn handle(&mut self, message: Self::Message, scope: &mut Scope<'_, Self>);

    /// The alarm set by [`Scope::set_alarm`] went off.
    fn alarm(&mut self, _scope: &mut Scope<'_, Self>) {}

    /// A child has used up its restarts and was told to give up.
    fn child_failed(&mut self, _name: &str, _scope: &mut Scope<'_, Self>) {}

    /// A child has ended in order, and all below it: it was told to stop, or stopped itself.
    fn child_stopped(&mut self, _name: &str, _scope: &mut Scope<'_, Self>) {}

    /// The last turn, when the mailbox is empty: returns what must still be written or said. It is
    /// given the rest of the stop's deadline.
    fn flush(&mut self, _scope: &mut Scope<'_, Self>) -> Option<LocalBoxFuture<'static, ()>> {
        None
    }
}
