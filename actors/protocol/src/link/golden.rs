//! Recordings of real daemons that the tests of this room share.

use std::net::SocketAddr;

use serde_json::Value;

use crate::ids::{DeviceId, DeviceShortId, DhtKey};
use crate::testing::{DAEMONS, recorded_lines};

/// A connection request or answer: plain `data` of a DHT value.
pub(crate) struct RecordedRequest {
    pub(crate) set: &'static str,
    pub(crate) key: DhtKey,
    pub(crate) to: DeviceId,
    pub(crate) to_short: DeviceShortId,
    pub(crate) data: Vec<u8>,
}

/// A STUN message without its frame.
pub(crate) struct RecordedStun {
    pub(crate) destination: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value.as_str().unwrap().parse().unwrap()
}

pub(crate) fn peer_requests() -> Vec<RecordedRequest> {
    let read = |set: &'static str| {
        recorded_lines::<Value>(&format!("{set}/dht/peer-requests.jsonl")).into_iter().map(move |line| {
            RecordedRequest {
                set,
                key: parse(&line["key"]),
                to: parse(&line["to"]),
                to_short: parse(&line["to_short"]),
                data: bytes(&line["data"]),
            }
        })
    };
    DAEMONS.into_iter().flat_map(read).collect()
}

pub(crate) fn stun_messages() -> Vec<RecordedStun> {
    let read = |set| recorded_lines::<Value>(&format!("{set}/wire/stun.jsonl.gz"));
    let lines = ["jami-13.7.0", "jami-13.11.0"].into_iter().flat_map(read);
    lines.map(|line| RecordedStun { destination: parse(&line["dst"]), bytes: bytes(&line["data"]) }).collect()
}

/// A recorded Binding indication.
pub(crate) fn keepalive() -> Vec<u8> {
    stun_messages()
        .into_iter()
        .map(|message| message.bytes)
        .find(|bytes| bytes.starts_with(&[0, 0x11]))
        .unwrap()
}

/// One frame of a recorded multiplexed socket, seen from one end.
pub(crate) struct RecordedFrame {
    pub(crate) sent: bool,
    pub(crate) channel: u16,
    /// Filled up with zeros where the recording keeps the beginning only.
    pub(crate) data: Vec<u8>,
    pub(crate) cut: bool,
}

/// A recorded multiplexed socket.
pub(crate) struct RecordedConnection {
    pub(crate) name: String,
    pub(crate) frames: Vec<RecordedFrame>,
}

/// All multiplexed sockets of a set, in the order of their first frames.
pub(crate) fn connections(set: &str) -> Vec<RecordedConnection> {
    let mut connections: Vec<RecordedConnection> = Vec::new();
    for line in recorded_lines::<Value>(&format!("{set}/mux/frames.jsonl.gz")) {
        let cut = line.get("len").is_some();
        let mut data = bytes(line.get("hex").unwrap_or_else(|| &line["head"]));
        if cut {
            data.resize(usize::try_from(line["len"].as_u64().unwrap()).unwrap(), 0);
        }
        let channel = u16::try_from(line["channel"].as_u64().unwrap()).unwrap();
        let frame = RecordedFrame { sent: line["dir"] == "tx", channel, data, cut };
        let name: String = parse(&line["connection"]);
        match connections.iter_mut().find(|connection| connection.name == name) {
            Some(connection) => connection.frames.push(frame),
            None => connections.push(RecordedConnection { name, frames: vec![frame] }),
        }
    }
    connections
}
