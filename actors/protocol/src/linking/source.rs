//! The side of linking that gives its account to a new device (`spec: identity 6`).

use zeroize::Zeroizing;

use super::message::{LinkScheme, Message, MessageReader};
use super::{LINK_TIMEOUT, LinkError};
use crate::identity::Archive;
use crate::time::Moment;

/// How many passwords may be tried.
pub const MAX_PASSWORDS: u32 = 3;

/// What a source is to do.
#[derive(Debug)]
pub enum SourceAction {
    /// Ask the owner whether the account is to be given to the new device.
    AskOwner,
    /// Write these bytes into the channel.
    Send(Vec<u8>),
    /// Open the archive with this password, on the blocking pool, and tell [`Source::opened_archive`] or
    /// [`Source::wrong_password`]. An archive without a password opens with an empty one.
    OpenArchive {
        /// The password.
        password: Zeroizing<String>,
    },
    /// Close the channel, after what was sent is written.
    Close,
    /// The new device has the account.
    Done,
    /// Say why it did not work. Nothing more happens.
    Fail(LinkError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The owner is asked.
    Asking,
    /// The new device is to send a password.
    Waiting,
    /// The archive is being opened.
    Opening,
    /// It has worked or failed.
    Over,
}

/// A device that gives its account to another one, from when the channel is open.
#[derive(Debug)]
pub struct Source {
    scheme: LinkScheme,
    state: State,
    reader: MessageReader,
    wrong_passwords: u32,
    deadline: Moment,
}

impl Source {
    /// Begins: the channel with the invitation's code is open. `scheme` is what opens the archive.
    #[must_use]
    pub fn new(now: Moment, scheme: LinkScheme) -> (Self, Vec<SourceAction>) {
        let reader = MessageReader::of_new_device();
        let deadline = now.plus(LINK_TIMEOUT);
        let source = Self { scheme, state: State::Asking, reader, wrong_passwords: 0, deadline };
        (source, vec![SourceAction::AskOwner])
    }

    /// Whether it is over, for good or bad.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The owner wants it.
    pub fn confirm(&mut self) -> Vec<SourceAction> {
        if self.state != State::Asking {
            return Vec::new();
        }
        self.state = State::Waiting;
        vec![SourceAction::Send(Message::Scheme(self.scheme).encode())]
    }

    /// The owner does not want it, or no more.
    pub fn cancel(&mut self) -> Vec<SourceAction> {
        if self.is_over() { Vec::new() } else { self.fail(LinkError::Cancelled, Some(&Message::Cancelled)) }
    }

    /// Bytes came over the channel.
    pub fn received(&mut self, mut bytes: &[u8]) -> Vec<SourceAction> {
        let mut actions = Vec::new();
        while !self.is_over() {
            match self.reader.next(&mut bytes) {
                Ok(Some(message)) => actions.extend(self.message(message)),
                Ok(None) => break,
                Err(error) => actions.extend(self.fail(error, None)),
            }
        }
        actions
    }

    fn message(&mut self, message: Message) -> Vec<SourceAction> {
        match (self.state, message) {
            (_, Message::TimedOut) => self.fail(LinkError::TimedOutAtPeer, None),
            (_, Message::Cancelled) => self.fail(LinkError::CancelledByPeer, None),
            // Until the owner has confirmed, nothing counts.
            (State::Asking, _) => Vec::new(),
            // The greeting, where the owner was faster.
            (State::Waiting, Message::Other) => Vec::new(),
            (State::Waiting, Message::Password(password)) => {
                self.state = State::Opening;
                vec![SourceAction::OpenArchive { password }]
            }
            _ => self.fail(LinkError::Protocol, None),
        }
    }

    /// The password was right: the new device gets the account.
    pub fn opened_archive(&mut self, archive: &Archive) -> Vec<SourceAction> {
        if self.state != State::Opening {
            return Vec::new();
        }
        self.state = State::Over;
        let account = Message::Account(archive.to_json_for_new_device()).encode();
        vec![SourceAction::Send(account), SourceAction::Close, SourceAction::Done]
    }

    /// The password was wrong.
    pub fn wrong_password(&mut self) -> Vec<SourceAction> {
        if self.state != State::Opening {
            return Vec::new();
        }
        self.wrong_passwords = self.wrong_passwords.saturating_add(1);
        if self.wrong_passwords >= MAX_PASSWORDS {
            return self.fail(LinkError::WrongPasswords, Some(&Message::LastWrongPassword));
        }
        self.state = State::Waiting;
        vec![SourceAction::Send(Message::WrongPassword.encode())]
    }

    /// The channel, or the connection, is gone.
    pub fn closed(&mut self) -> Vec<SourceAction> {
        if self.is_over() { Vec::new() } else { self.fail(LinkError::Closed, None) }
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        (!self.is_over()).then_some(self.deadline)
    }

    /// Gives up when it takes too long.
    pub fn tick(&mut self, now: Moment) -> Vec<SourceAction> {
        match self.deadline() {
            Some(deadline) if now >= deadline => self.fail(LinkError::TimedOut, Some(&Message::TimedOut)),
            _ => Vec::new(),
        }
    }

    fn fail(&mut self, error: LinkError, last_word: Option<&Message>) -> Vec<SourceAction> {
        self.state = State::Over;
        let last_word = last_word.map(|message| SourceAction::Send(message.encode()));
        last_word.into_iter().chain([SourceAction::Close, SourceAction::Fail(error)]).collect()
    }
}
