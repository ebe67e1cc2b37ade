//! Fuzz bodies of this room, over the files and requests of real daemons.

use super::{
    ContactList, OutgoingRequest, OutgoingRequests, PendingRequest, PendingRequests, TrustRequestMessage,
};
use crate::dht::{cipher, golden};
use crate::ids::{AccountId, ConversationId};
use crate::testing::{data, recording, with_mutations};
use crate::time::{Moment, UnixMillis};

const OWN: AccountId = AccountId([0xaa; 20]);

fn fuzz_request(data: &[u8]) {
    if let Ok(message) = TrustRequestMessage::decode(data) {
        assert_eq!(TrustRequestMessage::decode(&message.encode()), Ok(message));
    }
}

fn fuzz_list(data: &[u8]) {
    if let Ok((list, _)) = ContactList::decode(OWN, data) {
        assert_eq!(ContactList::decode(OWN, &list.encode()), Ok((list, 0)));
    }
}

fn fuzz_pending(data: &[u8]) {
    if let Ok((requests, _)) = PendingRequests::decode(data) {
        assert_eq!(PendingRequests::decode(&requests.encode()), Ok((requests, 0)));
    }
}

fn fuzz_outgoing(data: &[u8]) {
    let _ = OutgoingRequests::decode(data).map(|requests| requests.encode());
}

#[test]
fn damaged_requests_are_read_or_refused() {
    let request = cipher::open(&golden::trust_request(), golden::device_b()).unwrap();
    with_mutations(&request.content().data, 1000, fuzz_request);
}

#[test]
fn damaged_lists_are_read_or_refused() {
    for name in ["alice", "bob", "carla", "alice2"] {
        with_mutations(&recording(&format!("newest/accounts/{name}/contacts")), 300, fuzz_list);
    }
}

#[test]
fn damaged_files_of_requests_are_read_or_refused() {
    with_mutations(data!("vectors/newest/accounts/bob/incomingTrustRequests"), 50, fuzz_pending);
    let (conversation, payload) = (ConversationId([7; 20]), b"BEGIN:VCARD".to_vec());
    let (mut pending, mut outgoing) = (PendingRequests::default(), OutgoingRequests::default());
    for number in 0..3 {
        let request = PendingRequest {
            device: Some(golden::device_b().public().clone()),
            conversation: Some(conversation),
            received: UnixMillis(1000),
            payload: payload.clone(),
            invited: None,
        };
        pending.record(AccountId([number; 20]), request);
        let request = OutgoingRequest { conversation, payload: payload.clone(), invited: UnixMillis(1000) };
        outgoing.sent(Moment::default(), AccountId([number; 20]), request).unwrap();
    }
    with_mutations(&pending.encode(), 500, fuzz_pending);
    with_mutations(&outgoing.encode(), 500, fuzz_outgoing);
}
