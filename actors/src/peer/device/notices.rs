//! The message channels of a peer device, and the notices that wait for one.
//!
//! Either side opens a channel of its own; whichever is there is written to, all are read. A device of
//! 2023 declines `msg:` channels and is spoken to over a `sip` channel, its own or ours. Both are asked
//! for at once where its requests came on the key of old releases; the `sip` channel waits until the
//! other one is declined.

use std::sync::Arc;

use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::link::request::KeyKind;
use tokio::sync::Semaphore;

use super::super::channel::{Channel, ChannelOffer, ChannelReceiver, ChannelSender};
use super::super::connection::Remote;
use super::super::dialect::Dialect;
use super::super::hearing::{NOTICE_PLACES, read_notices};
use super::super::line::SipLine;
use super::super::messages::{LinkError, LinkEvent, Notice};
use super::{MAX_TRIES, PeerActor, Wish};
use crate::supervision::Scope;

/// Notices to one device that wait for a link, by topic; the oldest topic goes first.
const MAX_NOTICES: usize = 64;

/// Message channels of one peer that are read at once; it opens one, and another after a loss.
const MAX_MESSAGE_CHANNELS: usize = 4;

/// A channel to write notices into. It is closed when nobody holds its sender any more.
#[derive(Clone, Debug)]
struct Speaker {
    sender: Arc<ChannelSender>,
    dialect: Dialect,
}

/// A notice that waits for a channel.
#[derive(Debug)]
struct Waiting {
    topic: u64,
    notice: Notice,
    /// Whether it is worth a new link.
    lasting: bool,
}

/// What the peer actor knows of its message channels.
#[derive(Debug)]
pub(super) struct MessageChannels {
    /// What the device takes, once it has shown it.
    dialect: Option<Dialect>,
    speaker: Option<Speaker>,
    /// A `sip` channel that is used when the device declines the other kind.
    fallback: Option<Speaker>,
    /// The channels that are being asked for.
    wished: Vec<Dialect>,
    /// Whether notices are on their way into the channel.
    sending: bool,
    readers: usize,
    /// Places of the device's notices in its account.
    places: Arc<Semaphore>,
    waiting: Vec<Waiting>,
    /// What the next request for a link is for: it wakes a device that sleeps behind a proxy.
    reason: Option<String>,
    /// Whether the device sleeps, and is being woken.
    waking: bool,
}

impl Default for MessageChannels {
    fn default() -> Self {
        Self {
            dialect: None,
            speaker: None,
            fallback: None,
            wished: Vec::new(),
            sending: false,
            readers: 0,
            places: Arc::new(Semaphore::new(NOTICE_PLACES)),
            waiting: Vec::new(),
            reason: None,
            waking: false,
        }
    }
}

impl MessageChannels {
    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// There is a link: the device is awake.
    pub(super) fn linked(&mut self) {
        self.reason = None;
        self.waking = false;
    }

    /// The link is gone, and with it what only made sense now.
    pub(super) fn link_lost(&mut self) {
        self.speaker = None;
        self.fallback = None;
        self.waiting.retain(|waiting| waiting.lasting);
    }

    /// Whether the device has shown that it is one of 2023.
    pub(super) fn is_legacy(&self) -> bool {
        self.dialect == Some(Dialect::Sip)
    }

    /// Whether it may be one of 2023, for all that is known of its messages and of the key that it uses.
    pub(super) fn may_be_legacy(&self, key: Option<KeyKind>) -> bool {
        self.is_legacy() || (self.dialect.is_none() && key == Some(KeyKind::Legacy))
    }

    /// Whether a channel is there or on its way.
    fn is_under_way(&self) -> bool {
        self.speaker.is_some() || !self.wished.is_empty() || self.sending
    }

    /// Takes the `sip` channel that was kept for this, if it is still open.
    fn fall_back(&mut self) -> bool {
        self.speaker = self.fallback.take().filter(|speaker| speaker.sender.is_open());
        self.speaker.is_some()
    }

    fn push(&mut self, waiting: Waiting) {
        self.waiting.retain(|other| other.topic != waiting.topic);
        if self.waiting.len() >= MAX_NOTICES {
            self.waiting.remove(0);
        }
        self.waiting.push(waiting);
    }

    /// Puts notices back that found their channel closed, unless newer ones have come.
    fn keep_unsent(&mut self, unsent: Vec<Waiting>) {
        let newer = std::mem::take(&mut self.waiting);
        self.waiting = unsent;
        self.waiting.retain(|old| newer.iter().all(|new| new.topic != old.topic));
        self.waiting.extend(newer);
        let excess = self.waiting.len().saturating_sub(MAX_NOTICES);
        self.waiting.drain(..excess);
    }
}

impl PeerActor {
    /// Wants a message channel of our own, and with it a link.
    pub(super) fn want_messages(&mut self) {
        if self.messages.is_under_way() {
            return;
        }
        self.retry_at = None;
        match (self.messages.dialect, self.key_kind) {
            (Some(known), _) => self.wish_for(known),
            (None, Some(KeyKind::Legacy)) => {
                self.wish_for(Dialect::Packed);
                self.wish_for(Dialect::Sip);
            }
            (None, _) => self.wish_for(Dialect::Packed),
        }
    }

    fn wish_for(&mut self, dialect: Dialect) {
        self.messages.wished.push(dialect);
        let name = match dialect {
            Dialect::Packed => ChannelName::Message { device: self.remote().device },
            Dialect::Sip => ChannelName::Sip,
        };
        let reason = self.messages.reason.take().unwrap_or_default();
        self.wish(name.to_string(), &reason, Wish::Messages(dialect));
    }

    /// A channel that was wished for is there, or not to be had.
    pub(super) fn message_channel_answered(
        &mut self,
        dialect: Dialect,
        answer: Result<Channel, LinkError>,
        scope: &mut Scope<'_, Self>,
    ) {
        self.messages.wished.retain(|wished| *wished != dialect);
        match answer {
            Ok(Channel { sender, receiver, .. }) => {
                let speaker = Speaker { sender: Arc::new(sender), dialect };
                self.read_messages(receiver, &speaker, scope);
                self.may_speak(speaker, scope);
            }
            Err(LinkError::Declined { .. }) if dialect == Dialect::Packed => self.speak_sip(scope),
            Err(_) => self.no_message_channel(dialect, scope),
        }
    }

    /// The device declined a `msg:` channel: it is one of 2023.
    fn speak_sip(&mut self, scope: &mut Scope<'_, Self>) {
        self.messages.dialect = Some(Dialect::Sip);
        self.tell_legacy(scope);
        if self.messages.fall_back() {
            self.send_notices(scope);
        } else {
            self.want_messages();
        }
    }

    fn tell_legacy(&self, scope: &mut Scope<'_, Self>) {
        if !self.connections.is_empty() {
            let Remote { device, account } = self.remote();
            self.tell(LinkEvent::Legacy { device, account }, scope);
        }
    }

    /// A wish for a channel failed.
    pub(super) fn no_message_channel(&mut self, dialect: Dialect, scope: &mut Scope<'_, Self>) {
        self.messages.wished.retain(|wished| *wished != dialect);
        if dialect == Dialect::Sip {
            // Whatever it took before, it may be another release by now.
            self.messages.dialect = None;
        }
        if self.messages.is_under_way() {
            return;
        }
        // A device that is silent about a `msg:` channel but has a `sip` channel open hears us there.
        if self.messages.fall_back() {
            self.tell_legacy(scope);
            self.send_notices(scope);
        } else if self.messages.waking && self.messages.reason.is_some() {
            self.want_messages();
        } else if std::mem::take(&mut self.messages.waking) && self.connections.is_empty() {
            tracing::debug!(device = %self.remote().device.short(), "a device sleeps on until there is news");
        } else {
            self.retry_later(scope);
        }
    }

    /// There is a channel to write into: it is used, kept for later, or not needed.
    fn may_speak(&mut self, speaker: Speaker, scope: &mut Scope<'_, Self>) {
        let messages = &mut self.messages;
        match speaker.dialect {
            Dialect::Packed => {
                messages.dialect = Some(Dialect::Packed);
                let speaks_packed = messages.speaker.as_ref().is_some_and(|it| it.dialect == Dialect::Packed);
                if !speaks_packed && !messages.sending && !messages.wished.contains(&Dialect::Packed) {
                    messages.speaker = Some(speaker);
                }
            }
            Dialect::Sip if messages.dialect == Some(Dialect::Sip) && !messages.is_under_way() => {
                messages.speaker = Some(speaker);
            }
            Dialect::Sip => messages.fallback = Some(speaker),
        }
        self.send_notices(scope);
    }

    /// Something to tell the device. What is not `lasting` is told only if there is a link.
    pub(super) fn notify(&mut self, topic: u64, notice: Notice, lasting: bool, scope: &mut Scope<'_, Self>) {
        if self.connections.is_empty() {
            if !lasting {
                return;
            }
            self.messages.reason = Some(notice.kind.clone());
        }
        self.messages.push(Waiting { topic, notice, lasting });
        if self.messages.speaker.is_some() {
            self.send_notices(scope);
        } else if self.retry_at.is_none() {
            self.want_messages();
        }
    }

    /// Something to tell a device that sleeps. Being asked for a link wakes it, so it is asked once; whatever
    /// else there is to tell meanwhile is told then, too.
    pub(super) fn wake(&mut self, topic: u64, notice: Notice, scope: &mut Scope<'_, Self>) {
        if !self.connections.is_empty() {
            return self.notify(topic, notice, true, scope);
        }
        if !std::mem::replace(&mut self.messages.waking, true) {
            self.messages.reason = Some(notice.kind.clone());
        }
        self.messages.push(Waiting { topic, notice, lasting: true });
        self.want_messages();
    }

    /// Forgets a message channel that has ended while there is a link, and wants another one if
    /// something waits for it.
    pub(super) fn check_messages(&mut self, scope: &Scope<'_, Self>) {
        let messages = &mut self.messages;
        if messages.speaker.as_ref().is_some_and(|speaker| !speaker.sender.is_open()) {
            messages.speaker = None;
        }
        if !messages.is_under_way() && !messages.waiting.is_empty() && self.retry_at.is_none() {
            self.retry_later(scope);
        }
    }

    /// Hands the notices to the link. What is lost with the last link is made good when one is up
    /// again: both sides then look for what they miss.
    fn send_notices(&mut self, scope: &mut Scope<'_, Self>) {
        if self.messages.waiting.is_empty() {
            return;
        }
        let Some(speaker) = self.messages.speaker.take() else { return };
        let waiting = std::mem::take(&mut self.messages.waiting);
        let environment = self.config.link.environment.clone();
        let (own, peer) = (self.config.link.identity.account_id(), self.remote().account);
        self.messages.sending = true;
        let send = async move {
            for Waiting { notice, .. } in &waiting {
                let bytes = speaker.dialect.encode(notice, own, peer, &environment);
                // What the device cannot take is passed over.
                let Some(bytes) = bytes else { continue };
                if speaker.sender.send(bytes.into()).await.is_err() {
                    return Err(waiting);
                }
            }
            Ok(speaker)
        };
        scope.spawn_background(send, |peer, sent, scope| {
            peer.messages.sending = false;
            match sent {
                Ok(speaker) if !peer.connections.is_empty() => {
                    if peer.tries < MAX_TRIES {
                        // Not given up on purpose.
                        peer.tries = 0;
                    }
                    peer.messages.speaker = Some(speaker);
                    peer.send_notices(scope);
                }
                Ok(_) => {}
                Err(unsent) => peer.messages.keep_unsent(unsent),
            }
            peer.check_messages(scope);
            peer.drive(scope);
        });
    }

    /// Reads a message channel to its end, and answers in it what wants an answer.
    fn read_messages(
        &mut self,
        mut receiver: ChannelReceiver,
        speaker: &Speaker,
        scope: &mut Scope<'_, Self>,
    ) {
        let (events, remote) = (self.config.events.clone(), self.remote());
        let Speaker { sender, dialect } = speaker.clone();
        let places = Arc::clone(&self.messages.places);
        self.messages.readers += 1;
        let read = async move {
            let (line, _reading) = SipLine::new(remote, &sender);
            drop(sender);
            read_notices(&mut receiver, &line.read(), dialect, &events, &places).await;
        };
        scope.spawn_background(read, |peer, (), scope| {
            peer.messages.readers -= 1;
            peer.check_messages(scope);
            peer.drive(scope);
        });
    }

    /// Takes the message channel that the peer asks for, unless it has enough of them. It is written
    /// to as well if our own is not there yet.
    pub(super) fn offered_messages(
        &mut self,
        offer: ChannelOffer,
        dialect: Dialect,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.messages.readers >= MAX_MESSAGE_CHANNELS {
            return;
        }
        scope.spawn_background(offer.accept(), move |peer, accepted, scope| match accepted {
            Ok(Channel { sender, receiver, .. }) if peer.messages.readers < MAX_MESSAGE_CHANNELS => {
                let speaker = Speaker { sender: Arc::new(sender), dialect };
                peer.read_messages(receiver, &speaker, scope);
                peer.may_speak(speaker, scope);
            }
            // One too many, or gone already.
            _ => {}
        });
    }
}
