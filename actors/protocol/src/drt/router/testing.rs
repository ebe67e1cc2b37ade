//! One router whose owner the tests are.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::drt::lease_tests::{CONVERSATION, RECORDED};
pub(super) use crate::drt::table_tests::id;

pub(super) struct Owner {
    pub(super) router: Router,
    pub(super) moment: Moment,
    pub(super) wall: UnixMillis,
    pub(super) sockets: BTreeSet<DeviceId>,
    pub(super) strangers: BTreeSet<AccountId>,
}

impl Owner {
    pub(super) fn new() -> Self {
        Self::with(id("0", 0), false, vec![])
    }

    pub(super) fn with(own: DeviceId, is_mobile: bool, mobiles: Vec<MobileInfo>) -> Self {
        let config = RouterConfig { own, conversation: CONVERSATION, is_mobile, seed: 7, mobiles };
        Self {
            router: Router::new(config),
            moment: Moment(Duration::from_secs(1000)),
            wall: RECORDED,
            sockets: BTreeSet::new(),
            strangers: BTreeSet::new(),
        }
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Action> {
        let context = Context {
            moment: self.moment,
            wall: self.wall,
            is_active_member: &|account| !self.strangers.contains(&account),
            has_socket: &|device| self.sockets.contains(&device),
        };
        self.router.handle(&context, event)
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.moment = self.moment.plus(time);
        self.wall = self.wall.plus(time);
    }

    /// A channel that the other side asked for, named by the number.
    pub(super) fn up(&mut self, channel: u64, device: DeviceId) -> Vec<Action> {
        self.handle(Event::ChannelUp { channel: ChannelId(channel), device, incoming: true })
    }

    pub(super) fn down(&mut self, channel: u64) -> Vec<Action> {
        self.handle(Event::ChannelDown(ChannelId(channel)))
    }

    pub(super) fn say(&mut self, channel: u64, message: Message) -> Vec<Action> {
        self.handle(Event::Received { channel: ChannelId(channel), message })
    }

    pub(super) fn found(&mut self, channel: u64, nodes: &[DeviceId]) -> Vec<Action> {
        self.say(channel, message(Body::Found(Found { nodes: nodes.to_vec(), ..Found::default() })))
    }

    /// What the answer to a question tells.
    pub(super) fn ask(&mut self, channel: u64, version: Version, target: DeviceId) -> Found {
        let find = Body::Find { count: FIND_COUNT, target };
        let actions = self.say(channel, Message { version, ..message(find) });
        match &actions[..] {
            [Action::Send { message: Message { body: Some(Body::Found(found)), .. }, .. }] => found.clone(),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) use crate::drt::message::Found;

pub(super) fn message(body: Body) -> Message {
    Message { version: Version::Three, is_mobile: false, self_mobile_info: None, body: Some(body) }
}

/// Who is dialled.
pub(super) fn dialled(actions: &[Action]) -> BTreeSet<DeviceId> {
    let devices = actions.iter().filter_map(|action| match action {
        Action::RequestChannel { device, .. } => Some(*device),
        _ => None,
    });
    devices.collect()
}
