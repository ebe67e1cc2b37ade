//! What comes in: sorted, counted, put together.

use std::net::SocketAddr;

use super::{Family, NodeKey, OpenDhtNode, Purpose};
use crate::dht::opendht::packet::{Body, Datagram, Packet, Request};
use crate::dht::opendht::requests::Receiver;
use crate::ids::NodeId;

/// Strangers that are being asked whether they are there, at one time: as many as a new table holds.
const MAX_STRANGERS: usize = 64;

/// Length that a request counts with whose values came in parts: all of its bytes were received.
const LONG: usize = 64 * 1024;

impl OpenDhtNode {
    pub(super) fn receive(&mut self, source: SocketAddr, bytes: &[u8]) {
        let now = self.now.moment;
        match Datagram::decode(bytes, &source, &self.reader()) {
            Err(_) => {}
            Ok(Datagram::Parts { transaction, parts }) => {
                let expected =
                    self.reassembly.is_open(source, transaction) || self.requests.awaits(source, transaction);
                if !expected && !self.rate.admit(now, source.ip()) {
                    return;
                }
                self.requests.postpone(now, source, transaction);
                // Parts that do not fit are dropped; the others may still complete their message.
                if let Ok(Some(packet)) = self.reassembly.add(now, source, transaction, parts) {
                    self.take(source, packet, LONG);
                }
            }
            Ok(Datagram::Header(header)) => {
                if !self.is_wanted(source, &header.packet) {
                    return;
                }
                self.requests.postpone(now, source, header.packet.transaction);
                if let Ok(Some(packet)) = self.reassembly.open(now, source, header) {
                    self.take(source, packet, LONG);
                }
            }
            Ok(Datagram::Whole(packet)) => {
                if self.is_wanted(source, &packet) {
                    self.take(source, packet, bytes.len());
                }
            }
        }
    }

    /// Whether a message is within the limits, and, if it is an answer, one that is awaited.
    fn is_wanted(&mut self, source: SocketAddr, packet: &Packet) -> bool {
        match packet.body {
            Body::Request(_) => self.rate.admit(self.now.moment, source.ip()),
            Body::Reply(_) | Body::Error(_) => self.requests.awaits(source, packet.transaction),
            // We listen by updates only.
            Body::Notice { .. } => false,
        }
    }

    fn take(&mut self, source: SocketAddr, packet: Packet, length: usize) {
        match packet.body {
            Body::Request(ref request) => {
                // Whoever pings asks for more next, so a ping need not cost two datagrams.
                let asks = !matches!(request, Request::Ping);
                self.meet(source, packet.sender, asks && !packet.client);
                self.serve(source, packet, length);
            }
            Body::Reply(_) | Body::Error(_) => self.take_answer(source, packet),
            Body::Notice { .. } => {}
        }
    }

    /// Something was heard of a node. If it `serves` others and there may be a place for it in the table,
    /// it is asked whether it is there: only nodes that answer get one.
    pub(super) fn meet(&mut self, source: SocketAddr, id: NodeId, serves: bool) {
        let now = self.now.moment;
        let node = NodeKey { family: Family::of(&source), id };
        self.nodes.heard(now, node, source);
        let wanted =
            serves && self.tables.get(&node.family).is_some_and(|table| table.wants(now, &self.nodes, id));
        if wanted {
            self.prove(source, Some(id));
        }
        // Somebody uses the id of a node that we know elsewhere: it may have moved.
        if self.nodes.get(node).is_some_and(|known| known.address != source && known.pending == 0) {
            self.check(node);
        }
    }

    /// Asks whether somebody is at an address, once.
    pub(super) fn prove(&mut self, address: SocketAddr, id: Option<NodeId>) {
        if self.upkeep.strangers < MAX_STRANGERS && self.requests.open_to(address) == 0 {
            let receiver = Receiver { address, id };
            if self.request(receiver, Request::Ping, Purpose::Proof, 1) {
                self.upkeep.strangers += 1;
            }
        }
    }
}
