//! What mobile devices sign, and the certificates that prove it: what a node has, and what is on the DHT.

use std::collections::BTreeSet;

use super::{Arrival, Network};
use crate::drt::lease::Statement;
use crate::drt::router::{CertificateSource, ChannelId, Event};
use crate::identity::VerifiedChain;
use crate::ids::DeviceId;
use crate::keys::PrivateKey;

/// A mobile device.
#[derive(Clone, Debug)]
pub struct Mobile {
    /// Its certificate and those above it.
    pub chain: VerifiedChain,
    /// Its key.
    pub key: PrivateKey,
}

/// What a node can prove, and check.
#[derive(Debug)]
pub(super) struct Proofs {
    own: Option<Mobile>,
    /// Devices whose certificates it has: those it had links with, and those it has looked up.
    kept: BTreeSet<DeviceId>,
}

impl Proofs {
    pub(super) const fn new(own: Option<Mobile>) -> Self {
        Self { own, kept: BTreeSet::new() }
    }

    pub(super) fn meet(&mut self, device: DeviceId) {
        self.kept.insert(device);
    }
}

impl Network {
    pub(super) fn sign_lease(&mut self, place: usize) {
        let Some(Mobile { chain, key }) = &self.nodes[place].proofs.own else { return };
        let statement = Statement::own(self.conditions.conversation, chain, self.conditions.wall);
        if let Ok(lease) = statement.sign(key) {
            self.send(self.now, place, Arrival::Event(Event::LeaseSigned(Box::new(lease))));
        }
    }

    pub(super) fn find_certificate(&mut self, place: usize, device: DeviceId, source: CertificateSource) {
        let chain = self.chain_of(device);
        let proofs = &mut self.nodes[place].proofs;
        let (chain, time) = match source {
            CertificateSource::Store => (chain.filter(|_| proofs.kept.contains(&device)), self.now),
            CertificateSource::Dht => {
                proofs.kept.extend(chain.is_some().then_some(device));
                (chain, self.now.plus(self.latency()))
            }
        };
        let found = Event::CertificateFound { device, source, chain: chain.map(Box::new) };
        self.send(time, place, Arrival::Event(found));
    }

    pub(super) fn send_certificates(&mut self, place: usize, channel: ChannelId, devices: &[DeviceId]) {
        let node = &self.nodes[place];
        let has = |device: &&DeviceId| **device == node.device || node.proofs.kept.contains(*device);
        let chains = devices.iter().filter(has).filter_map(|device| self.chain_of(*device));
        let chains: Vec<Vec<u8>> = chains.map(|chain| chain.chain().to_der()).collect();
        let answer = node.router.certificates(chains);
        self.say(place, channel, answer);
    }

    fn chain_of(&self, device: DeviceId) -> Option<VerifiedChain> {
        let place = self.devices.get(&device)?;
        Some(self.nodes[*place].proofs.own.as_ref()?.chain.clone())
    }
}
