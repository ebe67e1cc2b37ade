//! Recorded devices, played against a router in the place of the other end.

use std::collections::BTreeSet;

use super::golden::{self, RecordedChannel};
use super::lease_tests::{CONVERSATION, RECORDED};
use super::message::{Body, Found, Message, Version};
use super::reader::SwarmReader;
use super::router::*;
use crate::ids::DeviceId;
use crate::time::Moment;

/// The channel that is played.
const CHANNEL: ChannelId = ChannelId(0);

/// One end of a recorded channel.
struct End {
    own: DeviceId,
    peer: DeviceId,
    /// Whether the peer asked for the channel.
    incoming: bool,
    /// What was said, and whether by this end; what is none closes the channel.
    said: Vec<(bool, Option<Message>)>,
}

fn read(frame: &[u8]) -> Option<Message> {
    SwarmReader::default().next(&mut &frame[..]).unwrap()
}

/// Who asks for its neighbours.
fn asker(said: &[(bool, Option<Message>)], is_own: bool) -> Option<DeviceId> {
    let mut messages = said.iter().filter(|(own, _)| *own == is_own).filter_map(|(_, it)| it.as_ref());
    messages.find_map(|message| match message.body {
        Some(Body::Find { target, .. }) => Some(target),
        _ => None,
    })
}

impl End {
    /// One of the two ends; none of a channel over which not both spoke.
    fn of(channel: &RecordedChannel, recorder: bool) -> Option<Self> {
        let said: Vec<_> =
            channel.frames.iter().map(|(sent, frame)| (*sent == recorder, read(frame))).collect();
        let incoming = channel.asked_here != recorder;
        Some(Self { own: asker(&said, true)?, peer: asker(&said, false)?, incoming, said })
    }

    /// Whom the device of this end told of: whom it was connected with.
    fn told(&self) -> Vec<DeviceId> {
        let bodies =
            self.said.iter().filter(|(own, _)| *own).filter_map(|(_, it)| it.as_ref()?.body.as_ref());
        let nodes =
            bodies.filter_map(|body| if let Body::Found(found) = body { Some(&found.nodes) } else { None });
        nodes.flatten().copied().collect()
    }
}

/// A router in the place of a device.
struct Player {
    router: Router,
    /// What it says over the channel.
    said: Vec<Body>,
    /// Whom it asks for channels.
    asked: BTreeSet<DeviceId>,
}

impl Player {
    fn new(own: DeviceId) -> Self {
        let config =
            RouterConfig { own, conversation: CONVERSATION, is_mobile: false, seed: 1, mobiles: Vec::new() };
        Self { router: Router::new(config), said: Vec::new(), asked: BTreeSet::new() }
    }

    fn handle(&mut self, event: Event) {
        let context = Context {
            moment: Moment::default(),
            wall: RECORDED,
            is_active_member: &|_| true,
            has_socket: &|_| true,
        };
        for action in self.router.handle(&context, event) {
            match action {
                Action::Send { channel: CHANNEL, message } => {
                    assert_eq!((message.version, message.is_mobile), (Version::Three, false));
                    self.said.extend(message.body);
                }
                Action::RequestChannel { device, .. } => drop(self.asked.insert(device)),
                Action::Send { .. } | Action::Connected | Action::Disconnected => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn channel_up(&mut self, channel: ChannelId, device: DeviceId, incoming: bool) {
        self.handle(Event::ChannelUp { channel, device, incoming });
    }

    /// Plays the other end: the channel comes up, the peer says what it said, and what the router says
    /// to that is what the recorded device did.
    fn play(mut self, end: &End) {
        for (number, device) in (1..).zip(end.told()) {
            self.channel_up(ChannelId(number), device, true);
        }
        if !end.incoming {
            self.handle(Event::SocketOpened(end.peer));
            assert!(self.asked.contains(&end.peer));
        }
        self.channel_up(CHANNEL, end.peer, end.incoming);
        for (is_own, message) in &end.said {
            match message {
                Some(message) if !is_own => self.hear(end, message),
                None => {
                    self.handle(Event::ChannelDown(CHANNEL));
                    assert!(!self.router.table().is_connected(&end.peer));
                    break;
                }
                Some(_) => {}
            }
        }
        // Which of its question and its answer comes first depends on who was faster.
        let recorded =
            end.said.iter().filter(|(own, _)| *own).filter_map(|(_, it)| it.as_ref()?.body.clone());
        let recorded: Vec<Body> = recorded.collect();
        assert_eq!(self.said.len(), recorded.len(), "{:?} {recorded:?}", self.said);
        assert!(self.said.iter().all(|body| recorded.contains(body)), "{:?} {recorded:?}", self.said);
    }

    fn hear(&mut self, end: &End, message: &Message) {
        self.asked.clear();
        let known: Vec<DeviceId> = self.router.table().nodes().map(|node| node.id).collect();
        self.handle(Event::Received { channel: CHANNEL, message: message.clone() });
        if let Some(Body::Found(Found { nodes, .. })) = &message.body {
            let new = nodes.iter().filter(|node| **node != end.own && !known.contains(node));
            assert!(new.clone().all(|node| self.asked.contains(node)), "{:?}", self.asked);
            assert!(new.clone().all(|new| self.router.table().nodes().any(|node| node.id == *new)));
        }
    }
}

#[test]
fn a_router_says_to_recorded_devices_what_the_recorded_one_in_its_place_did() {
    for (set, expected) in [("jami-13.11.0", 26), ("newest", 26)] {
        let mut ends = 0;
        for channel in golden::opened(set) {
            for end in [true, false].into_iter().filter_map(|recorder| End::of(&channel, recorder)) {
                Player::new(end.own).play(&end);
                ends += 1;
            }
        }
        assert_eq!(ends, expected, "{set}");
    }
}
