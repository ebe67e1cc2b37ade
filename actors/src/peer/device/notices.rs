//! The message channel of a peer device, and the notices that wait for it.
//!
//! Either side opens a channel of its own; whichever is there is written to, all are read.

use std::sync::Arc;

use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::link::message::PeerMessage as WireMessage;

use super::super::channel::{Channel, ChannelOffer, ChannelReceiver, ChannelSender};
use super::super::messages::Notice;
use super::super::notices::read_notices;
use super::{MAX_TRIES, PeerActor, Wish};
use crate::supervision::Scope;

/// Notices to one device that wait for a link, by topic; the oldest topic goes first.
const MAX_NOTICES: usize = 64;

/// Message channels of one peer that are read at once; it opens one, and another after a loss.
const MAX_MESSAGE_CHANNELS: usize = 4;

impl PeerActor {
    /// Wants our message channel, and with it a link.
    pub(super) fn want_messages(&mut self) {
        if self.messages.is_none() && !self.messages_wished && !self.sending {
            self.messages_wished = true;
            self.retry_at = None;
            let name = ChannelName::Message { device: self.remote().device }.to_string();
            self.wish(name, "", Wish::Messages);
        }
    }

    pub(super) fn notify(&mut self, topic: u64, notice: Notice, scope: &mut Scope<'_, Self>) {
        self.notices.retain(|(waiting, _)| *waiting != topic);
        if self.notices.len() >= MAX_NOTICES {
            self.notices.remove(0);
        }
        self.notices.push((topic, notice));
        if self.messages.is_some() {
            self.send_notices(scope);
        } else if self.retry_at.is_none() {
            self.want_messages();
        }
    }

    /// Forgets a message channel that has ended while there is a link, and wants another one if
    /// something waits for it.
    pub(super) fn check_messages(&mut self, scope: &Scope<'_, Self>) {
        if self.messages.as_ref().is_some_and(|messages| !messages.is_open()) {
            self.messages = None;
        }
        let idle = self.messages.is_none() && !self.messages_wished && !self.sending;
        if idle && !self.notices.is_empty() && self.retry_at.is_none() {
            self.retry_later(scope);
        }
    }

    /// Hands the notices to the link. What is lost with the last link is made good when one is up
    /// again: both sides then look for what they miss.
    pub(super) fn send_notices(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(messages) = self.messages.take() else { return };
        let notices = std::mem::take(&mut self.notices);
        if notices.is_empty() {
            self.messages = Some(messages);
            return;
        }
        let ids: Vec<u64> = notices.iter().map(|_| self.config.link.environment.random_u64()).collect();
        self.sending = true;
        let send = async move {
            for ((_, Notice { kind, content }), id) in notices.iter().zip(ids) {
                let message = WireMessage { id, mime_type: kind.clone(), content: content.clone() };
                if messages.send(message.encode().into()).await.is_err() {
                    return Err(notices);
                }
            }
            Ok(messages)
        };
        scope.spawn_background(send, |peer, sent, scope| {
            peer.sending = false;
            match sent {
                Ok(messages) if !peer.connections.is_empty() => {
                    if peer.tries < MAX_TRIES {
                        // Not given up on purpose.
                        peer.tries = 0;
                    }
                    peer.messages = Some(messages);
                    peer.send_notices(scope);
                }
                Ok(_) => {}
                Err(unsent) => peer.keep_unsent(unsent),
            }
            peer.check_messages(scope);
            peer.drive(scope);
        });
    }

    /// Puts notices back that found their channel closed, unless newer ones have come.
    fn keep_unsent(&mut self, unsent: Vec<(u64, Notice)>) {
        let newer = std::mem::take(&mut self.notices);
        self.notices = unsent;
        self.notices.retain(|(topic, _)| newer.iter().all(|(other, _)| other != topic));
        self.notices.extend(newer);
        let excess = self.notices.len().saturating_sub(MAX_NOTICES);
        self.notices.drain(..excess);
    }

    /// Reads a message channel to its end. `kept` is our half of it, if nothing else needs it:
    /// dropping it would close the channel.
    pub(super) fn read_messages(
        &mut self,
        mut receiver: ChannelReceiver,
        kept: Option<ChannelSender>,
        scope: &mut Scope<'_, Self>,
    ) {
        let (events, remote) = (self.config.events.clone(), self.remote());
        let places = Arc::clone(&self.notice_places);
        self.message_readers += 1;
        let read = async move {
            let _kept = kept;
            read_notices(&mut receiver, &events, &places, remote).await;
        };
        scope.spawn_background(read, |peer, (), scope| {
            peer.message_readers -= 1;
            peer.check_messages(scope);
            peer.drive(scope);
        });
    }

    /// Takes the message channel that the peer asks for, unless it has enough of them.
    pub(super) fn offered_messages(&mut self, offer: ChannelOffer, scope: &mut Scope<'_, Self>) {
        if self.message_readers >= MAX_MESSAGE_CHANNELS {
            return;
        }
        scope.spawn_background(offer.accept(), |peer, accepted, scope| match accepted {
            Ok(channel) if peer.message_readers < MAX_MESSAGE_CHANNELS => {
                peer.accepted_messages(channel, scope);
            }
            // One too many, or gone already.
            _ => {}
        });
    }

    /// Reads the peer's message channel, and writes to it too if our own is not there yet.
    fn accepted_messages(&mut self, channel: Channel, scope: &mut Scope<'_, Self>) {
        let Channel { sender, receiver, .. } = channel;
        if self.messages.is_none() && !self.messages_wished && !self.sending {
            self.messages = Some(sender);
            self.read_messages(receiver, None, scope);
            self.send_notices(scope);
        } else {
            self.read_messages(receiver, Some(sender), scope);
        }
    }
}
