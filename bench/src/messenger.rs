//! Two nodes that talk, and how long they take.
//!
//! ```text
//!   A                              B
//!   add_contact ------------------> request
//!                                   accept  --+
//!                                             | accept_to_cloned
//!                                   ready   <-+
//!   send  ------------------------> received      message_latency, one after the other
//!   send x 100  ------------------> received x 100             burst_100
//!   (links cut) send  ------------> received                   new_connection
//! ```
//!
//! The same code drives Skep and the real daemon, each through its own control interface.

use std::time::{Duration, Instant};

use skep::{AccountId, ConversationId};
use skep_tests::harness::{Place, Result};

use crate::statistics::{Samples, millis};

/// Pairs of new accounts made.
const PAIRS: usize = 3;

/// Messages sent one after the other, over all pairs.
const MESSAGES: usize = 150;

/// Messages of a burst.
pub(crate) const BURST: usize = 100;

/// Pause between two messages, so that each finds both nodes at rest.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// Time for both nodes to come to rest after a conversation was made.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);

/// Links cut, over all pairs.
const CUTS: usize = 9;

/// Time between the end of a link and the message that needs a new one. Both ends have noticed then;
/// a node that dials again at once may have its new link already.
pub(crate) const AFTER_CUT: Duration = Duration::from_millis(20);

/// A node that can be told what to do.
pub(crate) trait Messenger {
    /// An account on it.
    type Account;

    /// Where it runs.
    fn place(&self) -> &Place;

    /// Memory in use, in bytes.
    fn resident(&self) -> Result<usize>;

    /// Makes an account and waits until others can find it.
    async fn create_account(&mut self, name: &str) -> Result<Self::Account>;

    /// What others call an account.
    fn id(account: &Self::Account) -> AccountId;

    /// Adds a contact and asks it.
    async fn add_contact(&mut self, own: &Self::Account, contact: AccountId) -> Result<()>;

    /// Waits until somebody asked, and returns the conversation made for it.
    async fn request(&mut self, own: &Self::Account, from: AccountId) -> Result<ConversationId>;

    /// Accepts what was asked; does not wait for the conversation.
    async fn accept(&mut self, own: &Self::Account, from: AccountId) -> Result<()>;

    /// Waits until the conversation can be used, and tells since when.
    async fn ready(&mut self, own: &Self::Account, conversation: ConversationId) -> Result<Instant>;

    /// Waits until `member` has joined the conversation.
    async fn joined(
        &mut self,
        own: &Self::Account,
        conversation: ConversationId,
        member: AccountId,
    ) -> Result<()>;

    /// Sends a text.
    async fn send(&mut self, own: &Self::Account, conversation: ConversationId, text: &str) -> Result<()>;

    /// Waits until a text was received, and tells when.
    async fn received(
        &mut self,
        own: &Self::Account,
        conversation: ConversationId,
        text: &str,
    ) -> Result<Instant>;
}

/// How long two nodes took, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    /// From the call that sends to the event that it was received.
    pub(crate) message_latency: Samples,
    /// From the first call of a hundred to the last event.
    pub(crate) burst: Samples,
    /// From the call that accepts to the event that the conversation can be used.
    pub(crate) accept_to_cloned: Samples,
    /// From the call that sends, without a link, to the event that it was received; empty where
    /// links cannot be cut.
    pub(crate) new_connection: Samples,
}

/// A conversation between two accounts.
#[derive(Debug)]
pub(crate) struct Talk<A, B> {
    pub(crate) a: A,
    pub(crate) b: B,
    pub(crate) conversation: ConversationId,
}

/// Measures everything between two running nodes. `times` keeps what was measured before an error.
pub(crate) async fn measure<M: Messenger>(a: &mut M, b: &mut M, times: &mut Times) -> Result<()> {
    for pair in 0..PAIRS {
        let own = a.create_account(&format!("alice {pair}")).await?;
        let other = b.create_account(&format!("bob {pair}")).await?;
        let (talk, accept_to_cloned) = befriend(a, b, own, other).await?;
        times.accept_to_cloned.add_millis(accept_to_cloned);
        tokio::time::sleep(SETTLE).await;
        let Talk { a: own, b: other, conversation } = &talk;
        // The first message may wait for something that later ones find in place.
        deliver((a, own), (b, other), *conversation, &format!("warm up {pair}")).await?;
        for number in 0..MESSAGES / PAIRS {
            tokio::time::sleep(PAUSE).await;
            let text = format!("single {pair} {number}");
            times.message_latency.add_millis(deliver((a, own), (b, other), *conversation, &text).await?);
        }
        times.burst.add_millis(burst(a, b, &talk, pair).await?);
        for cut in 0..CUTS / PAIRS {
            tokio::time::sleep(SETTLE).await;
            if !b.place().cut_links(a.place())? {
                break;
            }
            tokio::time::sleep(AFTER_CUT).await;
            let text = format!("after cut {pair} {cut}");
            times.new_connection.add_millis(deliver((a, own), (b, other), *conversation, &text).await?);
        }
    }
    Ok(())
}

/// Makes contacts of two accounts, and tells how long the second one waited for the conversation after
/// it had accepted.
pub(crate) async fn befriend<A: Messenger, B: Messenger>(
    a: &mut A,
    b: &mut B,
    own: A::Account,
    other: B::Account,
) -> Result<(Talk<A::Account, B::Account>, Duration)> {
    a.add_contact(&own, B::id(&other)).await?;
    let conversation = b.request(&other, A::id(&own)).await?;
    let accepted = Instant::now();
    b.accept(&other, A::id(&own)).await?;
    let ready = b.ready(&other, conversation).await?;
    a.joined(&own, conversation, B::id(&other)).await?;
    Ok((Talk { a: own, b: other, conversation }, ready.saturating_duration_since(accepted)))
}

/// Sends a text from an account of one node to one of another, and tells how long it took to arrive.
pub(crate) async fn deliver<A: Messenger, B: Messenger>(
    (from, own): (&mut A, &A::Account),
    (to, other): (&mut B, &B::Account),
    conversation: ConversationId,
    text: &str,
) -> Result<Duration> {
    let sent = Instant::now();
    from.send(own, conversation, text).await?;
    let received = to.received(other, conversation, text).await?;
    Ok(received.saturating_duration_since(sent))
}

async fn burst<M: Messenger>(
    a: &mut M,
    b: &mut M,
    talk: &Talk<M::Account, M::Account>,
    pair: usize,
) -> Result<Duration> {
    let text = |number| format!("burst {pair} {number}");
    let sent = Instant::now();
    for number in 0..BURST {
        a.send(&talk.a, talk.conversation, &text(number)).await?;
    }
    let mut last = sent;
    for number in 0..BURST {
        last = last.max(b.received(&talk.b, talk.conversation, &text(number)).await?);
    }
    Ok(last.saturating_duration_since(sent))
}

/// What a node costs when nothing happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// Resident memory in megabytes of 1,000,000 bytes.
    pub(crate) megabytes: f64,
    /// Packets a second, sent and received; `None` on loopback.
    pub(crate) packets: Option<f64>,
}

/// Time for a new account to come to rest.
pub(crate) const IDLE_SETTLE: Duration = Duration::from_secs(20);

/// Time over which packets are counted.
pub(crate) const IDLE_SPAN: Duration = Duration::from_secs(60);

/// Measures a node with one new account and nothing to do.
pub(crate) async fn measure_idle<M: Messenger>(node: &mut M) -> Result<Idle> {
    node.create_account("idle").await?;
    tokio::time::sleep(IDLE_SETTLE).await;
    let (before, begin) = (node.place().packets()?, Instant::now());
    tokio::time::sleep(IDLE_SPAN).await;
    let (after, seconds) = (node.place().packets()?, millis(begin.elapsed()) / 1000.0);
    let packets = before.zip(after).map(|(before, after)| {
        let counted = u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
        f64::from(counted) / seconds
    });
    let bytes = u32::try_from(node.resident()?).unwrap_or(u32::MAX);
    Ok(Idle { megabytes: f64::from(bytes) / 1e6, packets })
}
