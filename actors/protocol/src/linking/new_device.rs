//! The side of linking that has no account yet (`spec: identity 6`).

use zeroize::Zeroizing;

use super::invitation::LinkInvitation;
use super::message::{LinkScheme, MAX_PASSWORD, Message, MessageReader};
use super::{LINK_TIMEOUT, LinkError};
use crate::identity::Archive;
use crate::ids::AccountId;
use crate::link::channel_name::ChannelName;
use crate::time::Moment;

/// How many channels with wrong codes are declined before the code is void. There are nine hundred
/// thousand codes, so that whoever tries has a chance of one in ninety thousand.
pub const MAX_WRONG_CODES: u32 = 10;

/// What a new device is to do.
#[derive(Debug)]
pub enum NewDeviceAction {
    /// Write these bytes into the channel.
    Send(Vec<u8>),
    /// Show whose account it is, and ask for its password.
    AskPassword {
        /// The account.
        account: AccountId,
        /// Whether the last one was wrong.
        was_wrong: bool,
    },
    /// Become a device of the account: make a key, enrol it, and keep the archive under the password,
    /// if there is one.
    Import {
        /// The account's archive.
        archive: Box<Archive>,
        /// Its password; empty for none.
        password: Zeroizing<String>,
    },
    /// Close the channel. Nothing more happens.
    Close,
    /// Say why it did not work. Nothing more happens.
    Fail(LinkError),
}

#[derive(Debug)]
enum State {
    /// The invitation is shown.
    Showing,
    /// The channel is open; the source asks its owner.
    Greeted,
    /// The source has said what is needed; the owner is asked.
    Asking,
    /// The password was sent.
    Proving { password: Zeroizing<String> },
    /// It has worked or failed.
    Over,
}

/// A device that is being linked.
#[derive(Debug)]
pub struct NewDevice {
    invitation: LinkInvitation,
    state: State,
    reader: MessageReader,
    /// Whose device opened the channel.
    account: Option<AccountId>,
    deadline: Option<Moment>,
    wrong_codes: u32,
}

impl NewDevice {
    /// Begins: the invitation is to be shown.
    #[must_use]
    pub fn new(invitation: LinkInvitation) -> Self {
        Self {
            invitation,
            state: State::Showing,
            reader: MessageReader::of_source(),
            account: None,
            deadline: None,
            wrong_codes: 0,
        }
    }

    /// What is to be shown.
    #[must_use]
    pub const fn invitation(&self) -> LinkInvitation {
        self.invitation
    }

    /// Whether it is over, for good or bad.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether a channel that somebody opens is to be accepted: it has the code and is the first. Wrong
    /// codes are counted, and too many of them are the end.
    pub fn requested(&mut self, channel: &ChannelName) -> (bool, Vec<NewDeviceAction>) {
        let ChannelName::Auth { .. } = channel else { return (false, Vec::new()) };
        if !matches!(self.state, State::Showing) {
            return (false, Vec::new());
        }
        if *channel == self.invitation.code.channel() {
            return (true, Vec::new());
        }
        self.wrong_codes = self.wrong_codes.saturating_add(1);
        let is_void = self.wrong_codes >= MAX_WRONG_CODES;
        (false, if is_void { self.fail(LinkError::WrongCodes, None) } else { Vec::new() })
    }

    /// The channel is open; `account` is whose device opened it, by its certificate.
    pub fn opened(&mut self, now: Moment, account: AccountId) -> Vec<NewDeviceAction> {
        if !matches!(self.state, State::Showing) {
            return Vec::new();
        }
        self.state = State::Greeted;
        self.account = Some(account);
        self.deadline = Some(now.plus(LINK_TIMEOUT));
        vec![NewDeviceAction::Send(Message::Hello.encode())]
    }

    /// Bytes came over the channel.
    pub fn received(&mut self, mut bytes: &[u8]) -> Vec<NewDeviceAction> {
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

    fn message(&mut self, message: Message) -> Vec<NewDeviceAction> {
        match (std::mem::replace(&mut self.state, State::Over), message) {
            (_, Message::TimedOut) => self.fail(LinkError::TimedOutAtPeer, None),
            (_, Message::Cancelled) => self.fail(LinkError::CancelledByPeer, None),
            (State::Greeted, Message::Scheme(LinkScheme::None)) => self.send(Zeroizing::default()),
            (State::Greeted, Message::Scheme(LinkScheme::Password)) => self.ask(false),
            (State::Proving { .. }, Message::LastWrongPassword) => self.fail(LinkError::WrongPasswords, None),
            (State::Proving { .. }, Message::WrongPassword) => self.ask(true),
            (State::Proving { password }, Message::Account(json)) => self.import(&json, password),
            _ => self.fail(LinkError::Protocol, None),
        }
    }

    fn ask(&mut self, was_wrong: bool) -> Vec<NewDeviceAction> {
        self.state = State::Asking;
        let ask = |account| NewDeviceAction::AskPassword { account, was_wrong };
        self.account.map(ask).into_iter().collect()
    }

    fn send(&mut self, password: Zeroizing<String>) -> Vec<NewDeviceAction> {
        let message = Message::Password(password.clone()).encode();
        self.state = State::Proving { password };
        vec![NewDeviceAction::Send(message)]
    }

    fn import(&mut self, json: &str, password: Zeroizing<String>) -> Vec<NewDeviceAction> {
        let archive = match Archive::from_json(json.as_bytes()) {
            Ok(archive) => archive,
            Err(error) => return self.fail(error.into(), None),
        };
        let sent = archive.account_id();
        match self.account {
            Some(device) if device != sent => self.fail(LinkError::OtherAccount { device, sent }, None),
            _ => {
                self.end();
                let archive = Box::new(archive);
                vec![NewDeviceAction::Import { archive, password }, NewDeviceAction::Close]
            }
        }
    }

    /// The owner gives the password. Nothing happens unless it was asked for; one that is too long is
    /// wrong before it is sent.
    pub fn password(&mut self, password: Zeroizing<String>) -> Vec<NewDeviceAction> {
        match self.state {
            State::Asking if password.len() > MAX_PASSWORD => self.ask(true),
            State::Asking => self.send(password),
            _ => Vec::new(),
        }
    }

    /// The owner cancels it here.
    pub fn cancel(&mut self) -> Vec<NewDeviceAction> {
        if self.is_over() { Vec::new() } else { self.fail(LinkError::Cancelled, None) }
    }

    /// The channel, or the connection, is gone.
    pub fn closed(&mut self) -> Vec<NewDeviceAction> {
        match self.state {
            State::Over | State::Showing => Vec::new(),
            _ => self.fail(LinkError::Closed, None),
        }
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub const fn deadline(&self) -> Option<Moment> {
        self.deadline
    }

    /// Gives up when it takes too long.
    pub fn tick(&mut self, now: Moment) -> Vec<NewDeviceAction> {
        match self.deadline {
            Some(deadline) if now >= deadline => self.fail(LinkError::TimedOut, Some(Message::TimedOut)),
            _ => Vec::new(),
        }
    }

    fn end(&mut self) {
        self.state = State::Over;
        self.deadline = None;
    }

    fn fail(&mut self, error: LinkError, last_word: Option<Message>) -> Vec<NewDeviceAction> {
        self.end();
        let last_word = last_word.map(|message| NewDeviceAction::Send(message.encode()));
        last_word.into_iter().chain([NewDeviceAction::Close, NewDeviceAction::Fail(error)]).collect()
    }
}
