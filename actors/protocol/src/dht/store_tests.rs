use proptest::prelude::*;

use super::*;
use crate::dht::content::Content;
use crate::dht::golden;

const MINUTE: Duration = Duration::from_secs(60);

fn key() -> DhtKey {
    DhtKey::of_text("test key")
}

fn at(minutes: u32) -> Moment {
    Moment(MINUTE * minutes)
}

fn plain(id: u64, data: &[u8]) -> Value {
    Value::plain(ValueId(id), Content::new(0, data.to_vec()))
}

struct Bench {
    store: ValueStore<u8>,
    removed: Vec<Removed>,
}

impl Bench {
    fn new(values_per_key: usize, bytes: usize) -> Self {
        Self { store: ValueStore::new(StoreLimits { values_per_key, bytes }), removed: Vec::new() }
    }

    fn put(&mut self, now: Moment, value: Value, source: u8) -> Result<Outcome, Refusal> {
        let origin = Origin::fresh(Source::Remote(source));
        self.store.put(now, key(), value, origin, &mut self.removed)
    }

    fn ids(&self, now: Moment) -> Vec<u64> {
        self.store.get(now, key(), &Filter::default()).map(|value| value.id.0).collect()
    }
}

fn bench() -> Bench {
    Bench::new(100, 1 << 20)
}

#[test]
fn many_values_of_one_key_are_kept_until_their_kind_expires() {
    let mut bench = bench();
    bench.put(at(0), plain(1, b"a"), 1).unwrap();
    let message = Value::plain(ValueId(2), Content::new(3, b"b".to_vec()));
    bench.put(at(0), message, 1).unwrap();
    assert_eq!(bench.ids(at(4)), [1, 2]);
    assert_eq!(bench.store.next_deadline(), Some(at(5)));
    assert_eq!(bench.ids(at(5)), [1]);
    assert_eq!(bench.store.expire(at(5)), [Removed { key: key(), id: ValueId(2) }]);
    assert_eq!(bench.store.expire(at(10)), [Removed { key: key(), id: ValueId(1) }]);
    assert!(bench.store.is_empty());
    assert_eq!((bench.store.remote_bytes(), bench.store.next_deadline()), (0, None));
}

#[test]
fn age_shortens_a_life_and_an_old_value_is_refused() {
    let mut bench = bench();
    let mut put = |id, minutes| {
        let origin = Origin { age: MINUTE * minutes, ..Origin::fresh(Source::Remote(1)) };
        bench.store.put(at(20), key(), plain(id, b""), origin, &mut bench.removed)
    };
    assert!(put(1, 4).is_ok());
    assert_eq!(put(2, 10), Err(Refusal::Expired));
    assert_eq!(bench.store.next_deadline(), Some(at(26)));
}

#[test]
fn refresh_and_an_identical_put_prolong_a_life() {
    let mut bench = bench();
    assert_eq!(bench.store.refresh(at(0), key(), ValueId(1)), RefreshOutcome::UnknownKey);
    bench.put(at(0), plain(1, b"a"), 1).unwrap();
    assert_eq!(bench.store.refresh(at(1), key(), ValueId(2)), RefreshOutcome::UnknownValue);
    assert_eq!(bench.store.refresh(at(1), key(), ValueId(1)), RefreshOutcome::Refreshed);
    assert_eq!(bench.store.next_deadline(), Some(at(11)));
    let again = plain(1, b"a").with_priority(1);
    assert_eq!(bench.put(at(2), again, 2), Ok(Outcome::Refreshed(ValueId(1))));
    assert_eq!(bench.store.next_deadline(), Some(at(12)));
    assert_eq!(bench.store.refresh(at(0), key(), ValueId(1)), RefreshOutcome::Refreshed);
    assert_eq!(bench.store.next_deadline(), Some(at(12)));
}

#[test]
fn edits_follow_the_recorded_rules() {
    // (spec: dht V20)
    let owner = golden::throw_away_key();
    let to = golden::device_b().public().device_short_id();
    let make = |id, sequence, data: &[u8]| {
        Value::signed(ValueId(id), Content::new(0, data.to_vec()).sign(owner, sequence).unwrap())
    };
    let mut zeroed = make(11, 0, b"signed data").encode();
    let length = zeroed.len();
    zeroed[length - 256..].fill(0);
    let foreign = Content::new(0, b"signed data".to_vec()).sign(golden::device_b(), 9).unwrap();
    let named = Content::new(0, b"x".to_vec()).with_user_type("text").sign(owner, 1).unwrap();
    let directed = Content::new(0, b"x".to_vec()).sign_for(owner, 1, to).unwrap();

    let mut bench = bench();
    let steps: [(Value, &[(u64, u16)]); 8] = [
        (make(10, 0, b"signed data"), &[(10, 0)]),
        (Value::decode(&zeroed).unwrap(), &[(10, 0)]),
        (make(10, 0, b"other data"), &[(10, 0)]),
        (make(10, 5, b"signed data"), &[(10, 5)]),
        (make(10, 4, b"signed data"), &[(10, 5)]),
        (Value::signed(ValueId(10), foreign), &[(10, 5)]),
        (Value::signed(ValueId(12), named), &[(10, 5), (12, 1)]),
        (Value::signed(ValueId(13), directed), &[(10, 5), (12, 1), (13, 1)]),
    ];
    for (value, expected) in steps {
        let _ = bench.put(at(0), value, 1);
        let stored: Vec<_> = bench
            .store
            .get(at(0), key(), &Filter::default())
            .map(|value| (value.id.0, value.as_signed().unwrap().sequence()))
            .collect();
        assert_eq!(stored, expected);
    }
}

#[test]
fn an_unsigned_value_is_never_replaced() {
    let mut bench = bench();
    bench.put(at(0), plain(1, b"a"), 1).unwrap();
    assert_eq!(bench.put(at(0), plain(1, b"b"), 1), Err(Refusal::Edit));
    let cipher = |byte| Value::encrypted(ValueId(2), vec![byte; 600]);
    bench.put(at(0), cipher(1), 1).unwrap();
    assert_eq!(bench.put(at(0), cipher(2), 1), Err(Refusal::Edit));
}

#[test]
fn a_full_key_gives_up_values_of_its_most_frequent_source() {
    let mut bench = Bench::new(4, 1 << 20);
    bench.put(at(0), plain(1, b"honest"), 1).unwrap();
    for id in 2..=4 {
        bench.put(at(1), plain(id, b"flood"), 2).unwrap();
    }
    bench.put(at(2), plain(5, b"flood"), 2).unwrap();
    assert_eq!(bench.ids(at(2)), [1, 3, 4, 5]);
    assert_eq!(bench.removed, [Removed { key: key(), id: ValueId(2) }]);
    bench.put(at(2), plain(6, b"third"), 3).unwrap();
    assert_eq!(bench.ids(at(2)), [1, 4, 5, 6]);
}

#[test]
fn a_full_store_gives_up_what_expires_first_of_the_heaviest_source() {
    let cost = plain(1, &[0; 1000]).encode().len() + VALUE_OVERHEAD;
    let mut bench = Bench::new(100, cost * 4);
    bench.put(at(0), plain(1, &[0; 1000]), 1).unwrap();
    for id in 2..=4 {
        bench.put(at(1), plain(id, &[0; 1000]), 2).unwrap();
    }
    bench.put(at(2), plain(5, &[0; 1000]), 3).unwrap();
    assert_eq!(bench.ids(at(2)), [1, 3, 4, 5]);
    assert!(bench.store.remote_bytes() <= cost * 4);
    // Later on, the value that has expired goes before anybody's living ones.
    bench.put(at(10), plain(6, &[0; 1000]), 2).unwrap();
    assert_eq!(bench.ids(at(10)), [3, 4, 5, 6]);
}

#[test]
fn a_value_that_would_be_the_first_to_go_is_refused() {
    let cost = plain(1, &[0; 1000]).encode().len() + VALUE_OVERHEAD;
    let mut bench = Bench::new(100, cost);
    bench.put(at(0), plain(1, &[0; 1000]), 1).unwrap();
    let short_lived = Value::plain(ValueId(2), Content::new(5, vec![0; 1000]));
    assert_eq!(bench.put(at(0), short_lived, 1), Err(Refusal::Full));
    assert_eq!(bench.ids(at(0)), [1]);
    assert_eq!(bench.removed, []);
}

#[test]
fn own_values_are_neither_counted_nor_displaced() {
    let mut bench = Bench::new(1, 1);
    let local = Origin::fresh(Source::Local);
    for id in 1..=3 {
        bench.store.put(at(0), key(), plain(id, b"own"), local, &mut bench.removed).unwrap();
    }
    assert_eq!(bench.put(at(0), plain(9, b"x"), 1), Err(Refusal::Full));
    assert_eq!(bench.ids(at(0)), [1, 2, 3]);
    assert_eq!(bench.store.remote_bytes(), 0);
}

#[test]
fn a_value_becomes_own_when_this_node_publishes_it_too() {
    let mut bench = bench();
    bench.put(at(0), plain(1, b"a"), 1).unwrap();
    assert!(bench.store.remote_bytes() > 0);
    let local = Origin::fresh(Source::Local);
    bench.store.put(at(0), key(), plain(1, b"a"), local, &mut bench.removed).unwrap();
    assert_eq!(bench.store.remote_bytes(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_limits_hold_and_the_tables_agree_after_any_puts(
        puts in prop::collection::vec((0_u64..12, 0_u8..4, 0_usize..2000, 0_u32..30, 0_u8..3), 1..80),
    ) {
        let limits = StoreLimits { values_per_key: 5, bytes: 9000 };
        let mut store = ValueStore::new(limits);
        let keys = [DhtKey::of_text("a"), DhtKey::of_text("b"), DhtKey::of_text("c")];
        let mut now = Moment::default();
        for (id, source, size, minutes, place) in puts {
            now = now.max(at(minutes));
            let source = if source == 0 { Source::Local } else { Source::Remote(source) };
            let key = keys[usize::from(place)];
            let mut removed = Vec::new();
            let _ = store.put(now, key, plain(id, &vec![0; size]), Origin::fresh(source), &mut removed);
            for gone in removed {
                prop_assert!(store.find(gone.key, gone.id).is_none());
            }
            prop_assert!(store.remote_bytes() <= limits.bytes);
            let all = || store.keys.values().flat_map(BTreeMap::values);
            prop_assert_eq!(all().count(), store.len());
            let bytes: usize =
                all().filter(|stored| stored.source != Source::Local).map(|stored| stored.bytes).sum();
            prop_assert_eq!(bytes, store.remote_bytes());
            store.sources.assert_consistent();
        }
        store.expire(Moment(Duration::MAX));
        prop_assert!(store.is_empty() && store.keys.is_empty());
    }
}
