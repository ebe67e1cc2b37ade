//! What real daemons said on `swarm://` channels, out of the recorded sockets.

use std::collections::BTreeMap;

use crate::link::golden;
use crate::link::mux::control::{self, ControlMessage};

/// Each frame of a `swarm://` channel of a set, by connection, channel and direction, in order.
pub(super) fn channels(set: &str) -> Vec<Vec<Vec<u8>>> {
    let mut streams = Vec::new();
    for connection in golden::connections(set) {
        let mut of_connection: BTreeMap<(u16, bool), Vec<Vec<u8>>> = BTreeMap::new();
        let mut swarm = BTreeMap::new();
        for frame in connection.frames {
            if frame.channel == 0 {
                for message in control::read_control(&frame.data) {
                    if let ControlMessage::Channel { name, number, .. } = message {
                        swarm.insert(number.0, name.starts_with("swarm://"));
                    }
                }
            } else if swarm.get(&frame.channel) == Some(&true) && !frame.data.is_empty() {
                assert!(!frame.cut);
                of_connection.entry((frame.channel, frame.sent)).or_default().push(frame.data);
            }
        }
        streams.extend(of_connection.into_values());
    }
    streams
}
