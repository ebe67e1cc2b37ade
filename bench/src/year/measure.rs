//! What a year of a busy group costs: on disk, in memory, and until it is shown or cloned.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skep::rpc::schema::{ListParams, Nothing, PathParams, method};
use skep_actors::swarm::repository::{Exclusive, Repository, RepositoryError, consolidate};
use skep_protocol::ids::{CommitId, ConversationId};
use skep_tests::harness::{Network, NodeSetup, Person, check, until};

use super::{BEGIN, DAY, DAYS, Group, MEMBERS, MESSAGES_A_DAY};
use crate::node::{PAGE, aside, make};
use crate::report::{Measurement, Progress, Quantity, Target, Wanted};
use crate::statistics::{Samples, millis};
use crate::{BenchError, Result};

const BYTES: Quantity = Quantity::new("year_bytes_per_message", "B", Target::AtMost(1000.0));
const OPEN: Quantity = Quantity::new("year_open", "ms", Target::AtMost(50.0));
const CLONE: Quantity = Quantity::new("year_clone", "s", Target::None);
const MEMORY: Quantity = Quantity::new("year_memory", "MB", Target::None);

/// All of them, in the order of the table.
pub(crate) const QUANTITIES: [Quantity; 4] = [BYTES, OPEN, CLONE, MEMORY];

/// Counts the changes of how the group is made, so that none of an older make is taken for it.
const EDITION: u32 = 1;

/// Days of the group that somebody has who was away for the rest of the year.
const FEW_DAYS: usize = 7;

/// Days are told in steps of so many.
const PROGRESS: usize = 30;

/// How often the last page is opened, each time by a node just started.
const OPENINGS: usize = 5;

/// Time after which what was needed for the last page only is let go.
const SETTLE: Duration = Duration::from_secs(5);

/// Git bundles of the group.
#[derive(Clone, Debug)]
pub(crate) struct YearFiles {
    folder: PathBuf,
    conversation: ConversationId,
    /// Archives of the two who are in it all the time.
    archives: [Vec<u8>; 2],
}

impl YearFiles {
    /// Makes them in `folder`, unless they are there from an earlier run: signing takes minutes.
    pub(crate) fn prepare(folder: &Path, progress: Progress) -> Result<Self> {
        let mut group = Group::found()?;
        let files = Self {
            folder: folder.join(format!("year-{EDITION}-{}", group.conversation)),
            conversation: group.conversation,
            archives: [group.archive(0)?, group.archive(1)?],
        };
        if [FEW_DAYS, DAYS].iter().all(|days| files.bundle(*days).is_file()) {
            return Ok(files);
        }
        std::fs::create_dir_all(&files.folder).map_err(BenchError::file(&files.folder))?;
        group.live(DAYS, |day| {
            if day % PROGRESS == 0 {
                progress(&format!("living in the group: {day} of {DAYS} days"));
            }
        })?;
        for days in [FEW_DAYS, DAYS] {
            let path = files.bundle(days);
            let unfinished = path.with_extension("new");
            std::fs::write(&unfinished, group.bundle(days)?).map_err(BenchError::file(&unfinished))?;
            std::fs::rename(&unfinished, &path).map_err(BenchError::file(&path))?;
        }
        Ok(files)
    }

    /// The bundle of the whole year.
    pub(crate) fn year(&self) -> PathBuf {
        self.bundle(DAYS)
    }

    /// The bundle of its first days.
    pub(crate) fn first_days(&self) -> PathBuf {
        self.bundle(FEW_DAYS)
    }

    fn bundle(&self, days: usize) -> PathBuf {
        self.folder.join(format!("{days}.bundle"))
    }

    /// Starts a node with the account of one of the two, and takes the group in from a bundle.
    pub(crate) async fn hold(&self, member: usize, bundle: &Path, setup: NodeSetup) -> Result<Person> {
        let archive = self.archives.get(member).map(Vec::as_slice).unwrap_or_default();
        let mut person = Person::import(setup.start().await?, archive, None).await?;
        let params = PathParams { account: person.local, path: bundle.to_owned() };
        let imported = person.node.call(method::ConversationImport, params).await?.conversation;
        check(imported == self.conversation, || format!("the group {}, not {imported}", self.conversation))?;
        Ok(person)
    }

    /// The group.
    pub(crate) const fn conversation(&self) -> ConversationId {
        self.conversation
    }
}

/// Measures what is wanted of [`QUANTITIES`].
pub(crate) async fn measure(
    files: &YearFiles,
    folder: &Path,
    wanted: Wanted<'_>,
    progress: Progress,
) -> Vec<Measurement> {
    let mut measurements = Vec::new();
    if wanted.any(&[BYTES]) {
        progress("a copy of a busy group grows for a year");
        let (files, folder) = (files.clone(), folder.to_owned());
        let grown = aside(move || grow(&files, &make(&folder, "year")?)).await;
        measurements.push(grown.unwrap_or_else(|error| Measurement::failed(BYTES, &error)));
    }
    if wanted.any(&[OPEN, CLONE, MEMORY]) {
        progress("nodes open and clone a year of a busy group");
        match hold_and_clone(files, folder).await {
            Ok(measured) => measurements.extend(measured),
            Err(error) => {
                measurements
                    .extend([OPEN, CLONE, MEMORY].map(|quantity| Measurement::failed(quantity, &error)));
            }
        }
    }
    measurements
}

/// Somebody fetches once a day, and packs as a node does.
fn grow(files: &YearFiles, folder: &Path) -> Result<Measurement> {
    let origin =
        Repository::import_bundle(&files.year(), &folder.join("origin")).map_err(BenchError::conversation)?;
    let path = folder.join("copy");
    let copy = RefCell::new(Repository::create(&path).map_err(BenchError::conversation)?);
    let (mut known, mut longest) = (None, Duration::ZERO);
    for head in evenings(&origin)? {
        copy.exclusive(|copy| fetch(&origin, copy, known, head)).map_err(BenchError::conversation)?;
        known = Some(head);
        let begun = Instant::now();
        let _ = consolidate(&copy).map_err(BenchError::conversation)?;
        longest = longest.max(begun.elapsed());
    }
    let messages = f64::from(u32::try_from(DAYS * MESSAGES_A_DAY).unwrap_or(u32::MAX));
    let (cloned, grown) = (usage(&folder.join("origin"))?, usage(&path)?);
    let bytes: Samples = std::iter::once(grown.bytes / messages).collect();
    let conditions = format!(
        "disk blocks of a copy that fetched once a day, {} files; {:.0} B in a copy just cloned; {MEMBERS} members, \
         {MESSAGES_A_DAY} messages a day and a change of members; the longest packing took {:.0} ms",
        grown.files,
        cloned.bytes / messages,
        millis(longest)
    );
    Ok(Measurement::new(BYTES, &bytes, conditions))
}

/// The last commit of each day.
fn evenings(repository: &Repository) -> Result<Vec<CommitId>> {
    let head = repository.head().map_err(BenchError::conversation)?;
    let mut evenings: Vec<(i64, CommitId)> = Vec::new();
    for id in head
        .map_or(Ok(Vec::new()), |head| repository.commits_between(head, &[]))
        .map_err(BenchError::conversation)?
    {
        let day = (repository.commit_at(id).map_err(BenchError::conversation)?.seconds() - BEGIN) / DAY;
        match evenings.last_mut() {
            Some(evening) if evening.0 == day => evening.1 = id,
            _ => evenings.push((day, id)),
        }
    }
    Ok(evenings.into_iter().map(|(_, head)| head).collect())
}

/// Brings what `head` has and `known` lacks from one repository into another.
fn fetch(
    origin: &Repository,
    copy: &mut Repository,
    known: Option<CommitId>,
    head: CommitId,
) -> std::result::Result<(), RepositoryError> {
    let mut pack = origin.pack_stream(head, known.as_slice())?;
    let mut receiver = copy.receive_pack();
    while let Some(bytes) = pack.next_bytes(origin)? {
        receiver.receive(&bytes)?;
    }
    let mut quarantine = receiver.store(&*copy)?;
    quarantine.keep_needed(head)?;
    copy.admit(quarantine)?;
    copy.move_main(known, head)
}

/// What a folder takes on the disk.
struct Usage {
    bytes: f64,
    files: usize,
}

fn usage(folder: &Path) -> Result<Usage> {
    /// Bytes of the blocks in which the system counts.
    const BLOCK: u64 = 512;
    let mut blocks = 0;
    let (mut files, mut open) = (0, vec![folder.to_owned()]);
    while let Some(path) = open.pop() {
        let found = std::fs::symlink_metadata(&path).map_err(BenchError::file(&path))?;
        blocks += found.blocks();
        if found.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(BenchError::file(&path))? {
                open.push(entry.map_err(BenchError::file(&path))?.path());
            }
        } else {
            files += 1;
        }
    }
    let bytes = u32::try_from(blocks * BLOCK).map_err(BenchError::conversation)?;
    Ok(Usage { bytes: f64::from(bytes), files })
}

/// A node that has the group is restarted and asked for the last page; another one clones it.
async fn hold_and_clone(files: &YearFiles, folder: &Path) -> Result<[Measurement; 3]> {
    let folder = make(folder, "year-nodes")?;
    let mut network = Network::best()?;
    let setup = NodeSetup::new("holder", &folder).at(network.place("holder")?);
    let mut holder = files.hold(0, &files.year(), setup).await?;
    let mut opened = Samples::default();
    for _ in 0..OPENINGS {
        holder.node.restart().await?;
        until_account(&mut holder).await?;
        let begin = Instant::now();
        let count = last_page(&mut holder, files.conversation).await?.len();
        opened.add_millis(begin.elapsed());
        check(count == PAGE, || format!("a page of {PAGE} messages, not {count}"))?;
    }
    tokio::time::sleep(SETTLE).await;
    let memory: Samples = std::iter::once(megabytes(holder.node.resident()?)).collect();

    let address = holder.node.address().await?;
    let setup = NodeSetup::new("guest", &folder).at(network.place("guest")?).joining(&address);
    let mut guest = Person::create(setup.start().await?, "guest", None).await?;
    holder.announced().await?;
    guest.announced().await?;
    holder.befriend(&mut guest).await?;
    let since = guest.node.events().mark();
    holder.invite(files.conversation, guest.id).await?;
    guest.invited(files.conversation, since).await?;
    let before = megabytes(guest.node.resident()?);
    let begin = Instant::now();
    guest.enter(files.conversation).await?;
    guest.ready(files.conversation, since).await?;
    let cloned: Samples = std::iter::once(begin.elapsed().as_secs_f64()).collect();
    tokio::time::sleep(SETTLE).await;
    let (peak, after) = (megabytes(guest.node.peak()?), megabytes(guest.node.resident()?));
    let served = megabytes(holder.node.peak()?);

    let messages = DAYS * MESSAGES_A_DAY;
    let open = format!(
        "first call for the last {PAGE} of {messages} messages to its answer, by a node just started"
    );
    let clone = "accept call to the event that the group can be used; two nodes";
    let memory_of = format!(
        "of a node that has the group and has shown its last page; who clones it has {before:.0} MB before, \
         {peak:.0} MB at most and {after:.0} MB after; who serves it {served:.0} MB at most"
    );
    Ok([
        Measurement::new(OPEN, &opened, open),
        Measurement::new(CLONE, &cloned, clone),
        Measurement::new(MEMORY, &memory, memory_of),
    ])
}

/// Waits until a node just started knows its account.
async fn until_account(person: &mut Person) -> Result<()> {
    let (name, local) = (person.node.name().to_owned(), person.local);
    let known = until(&name, "its account after its start", async || {
        let accounts = person.node.call(method::AccountList, Nothing {}).await?.accounts;
        Ok(accounts.iter().any(|account| account.local == local).then_some(()))
    });
    Ok(known.await?)
}

/// The messages of the newest page.
pub(crate) async fn last_page(person: &mut Person, conversation: ConversationId) -> Result<Vec<CommitId>> {
    let params = ListParams { account: person.local, conversation, before: None, limit: PAGE };
    let page = person.node.call(method::MessageList, params).await?.view;
    Ok(page.messages.into_iter().map(|message| message.id).collect())
}

fn megabytes(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e6
}
