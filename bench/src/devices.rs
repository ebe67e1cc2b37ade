//! The `devices` command: a new device of an account that has many contacts and conversations.
//!
//! ```text
//!   phone  account.link ──► invitation
//!   desk   device.add   ──► phone: linked          link_device
//!                           phone: all contacts        contacts_1000, from then on
//!                           phone: all conversations   conversations_100, cloned, from then on
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use skep::AccountId;
use skep_tests::harness::{DHT_PORT, Network, Newcomer, NodeSetup, Person, check};

use crate::node::{make, workspace};
use crate::report::{Earlier, Measurement, Outcome, Progress, Quantity, Report, Target, Wanted};
use crate::statistics::Samples;
use crate::{BenchError, Result};

const LINK: Quantity = Quantity::new("link_device", "s", Target::None);
const CONTACTS: Quantity = Quantity::new("contacts_1000", "s", Target::AtMost(1.0));
const CONVERSATIONS: Quantity = Quantity::new("conversations_100", "s", Target::AtMost(10.0));

/// How many devices are linked, one after the other.
const DEVICES: usize = 3;

/// Messages in each conversation.
const MESSAGES: usize = 10;

/// How often the new device is looked at. Each look costs it a list of all contacts.
const LOOK: Duration = Duration::from_millis(50);

/// How long all contacts, and then all conversations, may take before the run has failed.
const PATIENCE: Duration = Duration::from_secs(180);

/// Why there is nothing to compare with.
const NO_PEER: &str = "not measured: that of 2023 is linked by a PIN, which holds all contacts";

/// What `skep-bench devices` is told.
#[derive(Clone, Copy, Debug, Args)]
pub struct Options {
    /// Contacts of the account
    #[arg(long, default_value_t = 1000)]
    contacts: u32,
    /// Conversations of the account
    #[arg(long, default_value_t = 100)]
    conversations: usize,
}

#[derive(Default)]
struct Found {
    linked: Samples,
    contacts: Samples,
    conversations: Samples,
}

/// Measures how long a new device takes to know everything, and tells `progress` what is being done.
///
/// # Errors
/// [`BenchError`] when the results cannot be written. What cannot be measured is said in the table.
pub async fn run(options: Options, progress: Progress) -> Result<Outcome> {
    let file = workspace().join("target/bench/devices.json");
    let folder = tempfile::tempdir().map_err(BenchError::file(std::env::temp_dir()))?;
    let mut found = Found::default();
    let outcome = link(options, folder.path(), &mut found, progress).await;
    let Options { contacts, conversations } = options;
    let mut measurements = vec![
        Measurement::new(
            LINK,
            &found.linked,
            "device.add call to the stage `linked` on the new device, over a channel, without a password",
        ),
        Measurement::new(
            CONTACTS,
            &found.contacts,
            format!("from then on until the new device lists all {contacts}"),
        ),
        Measurement::new(
            CONVERSATIONS,
            &found.conversations,
            format!(
                "from then on until all {conversations}, of {MESSAGES} messages each, are cloned and can be used"
            ),
        ),
    ];
    if let Err(error) = outcome {
        measurements = measurements.into_iter().map(|measured| measured.spoiled(&error)).collect();
    }
    Report::conclude(measurements, Wanted(&[]), NO_PEER.to_owned(), file, Vec::<Earlier>::new())
}

async fn link(options: Options, folder: &Path, found: &mut Found, progress: Progress) -> Result<()> {
    let folder = make(folder, "devices")?;
    let Options { contacts, conversations } = options;
    progress(&format!("an account with {contacts} contacts and {conversations} conversations"));
    let mut network = Network::best()?;
    let mut setup = |name: &str| Ok::<_, BenchError>(NodeSetup::new(name, &folder).at(network.place(name)?));
    let boot = setup("boot")?;
    let address = format!("{}:{DHT_PORT}", boot.place().address);
    let _boot = boot.start().await?;
    let people: Vec<AccountId> = (0..contacts).map(person).collect();
    let archive = Newcomer::real(0, "Ada").archive_knowing(&people)?;
    let node = setup("desk")?.joining(&address).start().await?;
    let mut desk = Person::import(node, &archive, None).await?;
    desk.announced().await?;
    for number in 0..conversations {
        let id = desk.found(&format!("Conversation {number}")).await?;
        for message in 0..MESSAGES {
            desk.send(id, &format!("Message {message} of conversation {number}")).await?;
        }
    }
    for number in 0..DEVICES {
        let name = format!("phone-{number}");
        progress(&format!("{name} becomes a device of it"));
        let node = setup(&name)?.joining(&address).start().await?;
        let begun = Instant::now();
        let mut phone = desk.let_in(node).await?;
        let linked = Instant::now();
        found.linked.add((linked - begun).as_secs_f64());
        let contacts = whole(people.len(), "contacts", async || Ok(phone.contacts().await?.len()));
        found.contacts.add((contacts.await? - linked).as_secs_f64());
        let here = whole(conversations, "conversations", async || Ok(phone.conversations().await?.len()));
        found.conversations.add((here.await? - linked).as_secs_f64());
        phone.node.stop().await?;
    }
    Ok(())
}

/// Somebody whom the account knows and who is nowhere to be found.
fn person(number: u32) -> AccountId {
    let mut id = [7; 20];
    for (place, byte) in id.iter_mut().zip(number.to_be_bytes()) {
        *place = byte;
    }
    AccountId(id)
}

/// Looks until there are so many, and tells since when.
async fn whole(
    wanted: usize,
    what: &str,
    mut count: impl AsyncFnMut() -> skep_tests::harness::Result<usize>,
) -> Result<Instant> {
    let begun = Instant::now();
    loop {
        let here = count().await?;
        if here == wanted {
            return Ok(Instant::now());
        }
        check(begun.elapsed() < PATIENCE, || format!("{wanted} {what}, not {here}"))?;
        tokio::time::sleep(LOOK).await;
    }
}
