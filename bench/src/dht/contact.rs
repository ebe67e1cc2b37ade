//! Two strangers who become contacts and write to each other, on nodes of any two kinds.
//!
//! ```text
//!   A                                B
//!   add_contact ───────────────────► request, accepted at once ─┐ first_message
//!   send ──────────────────────────► received               ◄───┘
//!   send ──────────────────────────► received      messages, one at a time
//!   (links cut) send ──────────────► received      new_connection
//! ```

use std::time::Instant;

use skep_tests::harness::Result;

use crate::messenger::{AFTER_CUT, Messenger, PAUSE, SETTLE, Talk, befriend, deliver};
use crate::statistics::Samples;

/// Pairs of new accounts.
const PAIRS: usize = 2;

/// Messages of a pair.
const MESSAGES: usize = 10;

/// Times that the links of a pair are cut.
const CUTS: usize = 4;

/// How long two nodes took, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContactTimes {
    /// From the call that adds a contact to the event that its first message was received.
    pub(crate) first_message: Samples,
    /// From the call that sends to the event that it was received.
    pub(crate) messages: Samples,
    /// The same, without a link.
    pub(crate) new_connection: Samples,
    /// What went wrong, each time with one of the pairs.
    pub(crate) failures: Vec<String>,
}

/// Measures a few pairs of accounts; one that fails does not keep the others from being measured.
pub(crate) async fn measure<A: Messenger, B: Messenger>(a: &mut A, b: &mut B) -> ContactTimes {
    let mut times = ContactTimes::default();
    for pair in 0..PAIRS {
        if let Err(failure) = meet(a, b, pair, &mut times).await {
            times.failures.push(failure.to_string());
        }
    }
    times
}

async fn meet<A: Messenger, B: Messenger>(
    a: &mut A,
    b: &mut B,
    pair: usize,
    times: &mut ContactTimes,
) -> Result<()> {
    let own = a.create_account(&format!("alice {pair}")).await?;
    let other = b.create_account(&format!("bob {pair}")).await?;
    tokio::time::sleep(SETTLE).await;
    let begun = Instant::now();
    let (Talk { a: own, b: other, conversation }, _) = befriend(a, b, own, other).await?;
    deliver((a, &own), (b, &other), conversation, &format!("first {pair}")).await?;
    times.first_message.add_millis(begun.elapsed());
    tokio::time::sleep(SETTLE).await;
    for number in 0..MESSAGES {
        tokio::time::sleep(PAUSE).await;
        let text = format!("single {pair} {number}");
        times.messages.add_millis(deliver((a, &own), (b, &other), conversation, &text).await?);
    }
    for cut in 0..CUTS {
        tokio::time::sleep(SETTLE).await;
        if !b.place().cut_links(a.place())? {
            break;
        }
        tokio::time::sleep(AFTER_CUT).await;
        let text = format!("after cut {pair} {cut}");
        times.new_connection.add_millis(deliver((a, &own), (b, &other), conversation, &text).await?);
    }
    Ok(())
}
