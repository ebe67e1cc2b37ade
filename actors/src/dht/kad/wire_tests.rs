use proptest::prelude::*;

use super::*;

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (0..MAX_AGE, prop::collection::vec(any::<u8>(), 0..100))
        .prop_map(|(age, packed)| Entry { age: Duration::from_millis(age), packed });
    prop::collection::vec(entry, 0..5)
}

fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..5)
}

fn ids() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 0..5)
}

fn requests() -> impl Strategy<Value = Request> {
    let key = any::<[u8; 20]>().prop_map(DhtKey);
    prop_oneof![
        (key.clone(), entries()).prop_map(|(key, entries)| Request::Store { key, entries }),
        (key.clone(), any::<u64>()).prop_map(|(key, after)| Request::Get { key, after }),
        key.clone().prop_map(|key| Request::Listen { key }),
        key.clone().prop_map(|key| Request::Unlisten { key }),
        (key, values(), ids(), ids()).prop_map(|(key, values, refreshed, expired)| Request::Notify {
            key,
            values,
            refreshed,
            expired
        }),
        Just(Request::Ping),
    ]
}

fn responses() -> impl Strategy<Value = Response> {
    let reason = (0..6_u64).prop_map(Reason::from_code);
    prop_oneof![
        prop::collection::vec((any::<u64>(), reason.clone()), 0..5)
            .prop_map(|refused| Response::Stored { refused }),
        (values(), any::<bool>()).prop_map(|(values, more)| Response::Values { values, more }),
        Just(Response::Done),
        reason.prop_map(Response::Declined),
    ]
}

fn fuzz_request(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
}

fn fuzz_response(data: &[u8]) {
    if let Ok(response) = Response::decode(data) {
        assert_eq!(Response::decode(&response.encode()), Ok(response));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_survives_its_bytes(request in requests(), response in responses()) {
        prop_assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        prop_assert_eq!(Response::decode(&response.encode()).unwrap(), response);
    }

    #[test]
    fn damaged_messages_fail_without_panic(
        request in requests(), response in responses(), at in any::<usize>(), to in any::<u8>(),
    ) {
        for mut bytes in [request.encode(), response.encode()] {
            let at = at % bytes.len();
            bytes[at] = to;
            for data in [&bytes[..], &bytes[..at]] {
                fuzz_request(data);
                fuzz_response(data);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_request(&bytes);
        fuzz_response(&bytes);
    }
}

#[test]
fn an_entry_that_is_none_is_skipped_and_its_neighbours_are_kept() {
    let good = Pack::Array(vec![Pack::Unsigned(5), Pack::binary(b"x")]);
    let entries = Pack::Array(vec![Pack::Nil, good.clone(), Pack::Array(vec![]), good]);
    let bytes = Pack::Array(vec![Pack::Unsigned(1), Pack::binary(&[7; 20]), entries]).encode();
    let Request::Store { entries, .. } = Request::decode(&bytes).unwrap() else { panic!() };
    assert_eq!(entries.len(), 2);
}

#[test]
fn too_many_entries_and_unknown_shapes_are_refused() {
    let many = Pack::Array(vec![Pack::Nil; MAX_ENTRIES + 1]);
    let bytes = Pack::Array(vec![Pack::Unsigned(1), Pack::binary(&[7; 20]), many]).encode();
    assert_eq!(Request::decode(&bytes), Err(WireError::TooMany));
    for bad in [vec![], vec![0x90], vec![0x91, 0x63], vec![0x93, 1, 0xc4, 1, 0, 0x90], vec![0x91, 6, 0]] {
        assert!(Request::decode(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn later_items_of_a_longer_list_are_ignored() {
    assert_eq!(Request::decode(&[0x92, 6, 0xc0]).unwrap(), Request::Ping);
}
