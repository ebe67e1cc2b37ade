//! What real daemons said on `swarm://` channels, out of the recorded sockets.

use std::collections::BTreeMap;

use crate::link::golden;
use crate::link::mux::control::{self, ChannelState, ControlMessage};

/// A `swarm://` channel between two devices.
#[derive(Default)]
pub(super) struct RecordedChannel {
    /// Whether the end that recorded asked for it.
    pub(super) asked_here: bool,
    /// What was said, in order, and whether by the end that recorded. Nothing at all closes the channel.
    pub(super) frames: Vec<(bool, Vec<u8>)>,
}

/// Each `swarm://` channel of a set that was opened, by connection and number.
pub(super) fn opened(set: &str) -> Vec<RecordedChannel> {
    let mut opened = Vec::new();
    for connection in golden::connections(set) {
        let (mut asked, mut open) = (BTreeMap::new(), BTreeMap::new());
        for frame in connection.frames {
            if frame.channel == 0 {
                for message in control::read_control(&frame.data) {
                    let ControlMessage::Channel { name, number, state } = message else { continue };
                    match state {
                        ChannelState::Request => drop(asked.insert(number.0, frame.sent)),
                        ChannelState::Accept if name.starts_with("swarm://") => {
                            let asked_here = asked[&number.0];
                            open.insert(number.0, RecordedChannel { asked_here, frames: Vec::new() });
                        }
                        ChannelState::Accept | ChannelState::Decline => {}
                    }
                }
            } else if let Some(channel) = open.get_mut(&frame.channel) {
                assert!(!frame.cut);
                channel.frames.push((frame.sent, frame.data));
            }
        }
        opened.extend(open.into_values());
    }
    opened
}

/// Each frame of a `swarm://` channel of a set, by connection, channel and direction, in order.
pub(super) fn channels(set: &str) -> Vec<Vec<Vec<u8>>> {
    let mut streams = Vec::new();
    for channel in opened(set) {
        for sender in [false, true] {
            let frames = channel.frames.iter().filter(|(sent, data)| *sent == sender && !data.is_empty());
            let stream: Vec<Vec<u8>> = frames.map(|(_, data)| data.clone()).collect();
            streams.extend((!stream.is_empty()).then_some(stream));
        }
    }
    streams
}
