//! How requests of other nodes are served.

use libp2p::PeerId;
use skep_protocol::dht::listeners::Change;
use skep_protocol::dht::store::Source;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;

use super::super::listening::News;
use super::super::outbox::Purpose;
use super::super::serving::Notice;
use super::super::wire::{Entry, Reason, Response};
use super::{Core, admitted};

impl Core {
    pub(super) fn keep(&mut self, peer: PeerId, key: DhtKey, entries: Vec<Entry>) -> Response {
        let ours = self.vicinity.is_ours(key);
        let mut refused = Vec::new();
        for entry in entries {
            let Ok(value) = Value::decode(&entry.packed) else { continue };
            let id = value.id.0;
            if !ours {
                refused.push((id, Reason::TooFar));
                continue;
            }
            let (notices, kept) = self.serving.store(key, value, Source::Remote(peer), entry.age, self.now);
            self.announce(notices);
            refused.extend(kept.err().map(|refusal| (id, Reason::from(&refusal))));
        }
        Response::Stored { refused }
    }

    pub(super) fn page(&self, key: DhtKey, after: ValueId) -> Response {
        let (values, more) = self.serving.page(key, after, self.now);
        Response::Values { values, more }
    }

    pub(super) fn notified(
        &mut self,
        peer: PeerId,
        key: DhtKey,
        values: &[Vec<u8>],
        refreshed: &[u64],
        expired: &[u64],
    ) -> Response {
        if !self.listening.is_asked(key, peer) {
            return Response::Declined(Reason::NotListening);
        }
        let ids = |ids: &[u64]| ids.iter().map(|id| ValueId(*id)).collect();
        self.hear(key, peer, News::Keeps(admitted(key, values)));
        self.hear(key, peer, News::Refreshed(ids(refreshed)));
        self.hear(key, peer, News::Expired(ids(expired)));
        Response::Done
    }

    /// Tells those who listen here, this node among them, of changes.
    pub(super) fn announce(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            let request = notice.request();
            for peer in &notice.peers {
                self.send(*peer, request.clone(), Purpose::Notify(notice.key));
            }
            if self.listening.is_listening(notice.key) {
                let news = match notice.change {
                    Change::Stored(value) => News::Keeps(vec![Value::clone(&value)]),
                    Change::Refreshed(ids) => News::Refreshed(ids),
                    Change::Expired(ids) => News::Expired(ids),
                };
                self.hear(notice.key, self.local, news);
            }
        }
    }
}
