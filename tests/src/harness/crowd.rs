//! A group of many people, each on a node of their own, that goes through what networks and machines do.
//!
//! ```text
//!   bootstrap   half of the people  │  the other half       parted and healed where there are namespaces;
//!                                   │                       some are killed while all write
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use skep::{CommitId, ConversationId, Event};

use super::{Burst, Failure, Mark, Network, Newcomer, Node, NodeSetup, Person, Place, Result, check, until};

/// Nodes started at the same time: they share the processors.
const STARTED_AT_ONCE: usize = 5;

/// People who join a group at the same time.
const JOINING_AT_ONCE: usize = 5;

/// Messages that everybody sends while some are killed.
const BURST: usize = 4;

/// Messages that each of them has acknowledged before it is killed.
const KILLED_AFTER: usize = 2;

/// People on nodes of their own who share a group.
#[derive(Debug)]
pub struct Crowd {
    people: Vec<Person>,
    id: ConversationId,
    /// What was acknowledged, with its text.
    said: BTreeMap<CommitId, String>,
    bootstrap: Node,
    // After those who live in it.
    network: Network,
}

/// How long messages took from the call that sends to the event at each of the others.
#[derive(Debug)]
pub struct Spread(Vec<Duration>);

/// What all copies have in common at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Commits of the history.
    pub commits: usize,
    /// Texts in it.
    pub texts: usize,
    /// Texts that were acknowledged, all of which are among them.
    pub acknowledged: usize,
}

impl Spread {
    /// All of them, shortest first.
    #[must_use]
    pub fn all(&self) -> &[Duration] {
        &self.0
    }

    /// How many arrivals were measured.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// That of the middle; half of all took no longer.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.0.get(self.0.len() / 2).copied().unwrap_or_default()
    }

    /// The longest.
    #[must_use]
    pub fn worst(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }

    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }
}

/// Whose accounts people have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounts {
    /// Those of newcomers, whose keys are short and were made beforehand: quick, and up to
    /// [`Newcomer::MOST`].
    Newcomers,
    /// Their nodes make them, with keys as long as anybody's; that takes seconds of processor time each.
    Made,
}

/// How there are people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// How many.
    pub count: usize,
    /// Whose accounts they have.
    pub accounts: Accounts,
    /// The DHT network that they find each other on: `kad` or `opendht`.
    pub network: &'static str,
}

impl Arrival {
    /// Newcomers on a network of our own.
    #[must_use]
    pub const fn newcomers(count: usize) -> Self {
        Self { count, accounts: Accounts::Newcomers, network: "kad" }
    }
}

/// People who are contacts of the first of them, and have no group yet.
#[derive(Debug)]
pub struct Guests {
    people: Vec<Person>,
    bootstrap: Node,
    network: Network,
}

impl Guests {
    /// Starts a bootstrap and a node for each person, in namespaces if there can be so many, and waits until
    /// everybody can be found.
    ///
    /// # Errors
    /// [`Failure`] when one cannot be started, or there are too many.
    pub async fn start(arrival: Arrival, folder: &Path) -> Result<Self> {
        let Arrival { count, accounts, network: dht } = arrival;
        // The bootstrap is one more.
        let mut network = Network::for_nodes(count + 1)?;
        let place = network.place("bootstrap")?;
        let bootstrap = NodeSetup::new("bootstrap", folder).at(place).on(dht).start().await?;
        let mut guests = Self { people: Vec::new(), bootstrap, network };
        let address = guests.bootstrap.address().await?;
        let mut arriving = Vec::new();
        for number in 0..count {
            let name = format!("P{number}");
            let setup = NodeSetup::new(&name, folder).at(guests.network.place(&name)?);
            let setup = setup.on(dht).joining(&address);
            arriving.push((number, name, setup));
        }
        while !arriving.is_empty() {
            let batch = arriving.drain(..STARTED_AT_ONCE.min(arriving.len()));
            let batch = batch.map(async |(number, name, setup)| match accounts {
                Accounts::Newcomers => Person::arrive(&Newcomer::new(number, &name), setup).await,
                Accounts::Made => Person::create(setup.start().await?, &name, None).await,
            });
            guests.people.extend(try_join_all(batch).await?);
        }
        try_join_all(guests.people.iter_mut().map(Person::announced)).await?;
        Ok(guests)
    }

    /// The first asks all others, who accept.
    ///
    /// # Errors
    /// [`Failure`] when it does not come to that.
    pub async fn befriend(&mut self) -> Result<()> {
        let Some((host, others)) = self.people.split_first_mut() else { return Ok(()) };
        let by = host.id;
        for others in others.chunks_mut(JOINING_AT_ONCE) {
            for other in &*others {
                host.add(other.id).await?;
            }
            try_join_all(others.iter_mut().map(async |other| {
                let conversation = other.asked_by(by, Mark::BEGINNING).await?;
                other.accept(by).await?;
                other.ready(conversation, Mark::BEGINNING).await
            }))
            .await?;
            for other in others {
                host.confirmed(other.id).await?;
            }
        }
        Ok(())
    }

    /// The first makes a group and invites all others, who accept at once and join.
    ///
    /// # Errors
    /// [`Failure`] when it does not come to that.
    pub async fn gather(mut self, title: &str) -> Result<Crowd> {
        let host = self.people.first_mut();
        let host = host.ok_or_else(|| Failure::Expected("somebody to make a group".to_owned()))?;
        let id = host.found(title).await?;
        for first in (1..self.people.len()).step_by(JOINING_AT_ONCE) {
            self.admit(id, first..self.people.len().min(first + JOINING_AT_ONCE)).await?;
        }
        let Self { people, bootstrap, network } = self;
        Ok(Crowd { people, id, said: BTreeMap::new(), bootstrap, network })
    }

    /// The first invites those in `range`, who join at the same time; all that are in the group see it.
    async fn admit(&mut self, id: ConversationId, range: Range<usize>) -> Result<()> {
        let Some((host, others)) = self.people.split_first_mut() else { return Ok(()) };
        let size = range.end;
        let guests = || (range.start - 1)..(range.end - 1);
        for guest in others.get(guests()).unwrap_or_default() {
            host.invite(id, guest.id).await?;
        }
        try_join_all(others.get_mut(guests()).unwrap_or_default().iter_mut().map(async |guest| {
            guest.invited(id, Mark::BEGINNING).await?;
            guest.enter(id).await?;
            guest.ready(id, Mark::BEGINNING).await
        }))
        .await?;
        try_join_all(self.people.iter_mut().take(size).map(async |person| {
            let name = person.node.name().to_owned();
            until(&name, format!("{size} members"), async || {
                let members = person.view(id).await?.members;
                let joined = members.iter().filter(|it| it.role == "admin" || it.role == "member").count();
                Ok((joined == size).then_some(()))
            })
            .await
        }))
        .await
        .map(drop)
    }
}

impl Crowd {
    /// The group.
    #[must_use]
    pub const fn id(&self) -> ConversationId {
        self.id
    }

    /// Whether each of them is in a namespace, as against on loopback with all others.
    #[must_use]
    pub fn is_in_namespaces(&self) -> bool {
        self.network.hub().is_some()
    }

    /// One of them says something, and all others hear it.
    ///
    /// # Errors
    /// [`Failure`] when somebody does not.
    pub async fn say(&mut self, speaker: usize, text: &str) -> Result<Spread> {
        let (commit, times) = say(&mut self.people, speaker, self.id, text).await?;
        self.said.insert(commit, text.to_owned());
        Ok(Spread::of(times))
    }

    /// The processor time that all nodes have used so far.
    ///
    /// # Errors
    /// [`Failure::File`] when one has ended.
    pub fn processor_time(&self) -> Result<Duration> {
        self.people.iter().map(|person| person.node.processor_time()).sum()
    }

    /// Everybody says something, one after the other, and all others hear it.
    ///
    /// # Errors
    /// [`Failure`] when somebody does not.
    pub async fn talk(&mut self, what: &str) -> Result<Spread> {
        let (said, times) = take_turns(&mut self.people, self.id, what).await?;
        self.said.extend(said);
        Ok(Spread::of(times))
    }

    /// Everybody says something at the same time, and all others hear it.
    ///
    /// # Errors
    /// [`Failure`] when somebody does not.
    pub async fn talk_at_once(&mut self, what: &str) -> Result<Spread> {
        let id = self.id;
        let marks: Vec<_> = self.people.iter().map(|person| person.node.events().mark()).collect();
        let begun = Instant::now();
        let said = try_join_all(self.people.iter_mut().map(async |person| {
            let text = format!("{what}, says {}", person.node.name());
            Ok::<_, Failure>((person.send(id, &text).await?, text))
        }))
        .await?;
        let heard = said.iter().enumerate().flat_map(|(speaker, (commit, _))| {
            let others = self.people.iter().zip(&marks).enumerate();
            others
                .filter(move |(listener, _)| *listener != speaker)
                .map(move |(_, (listener, mark))| heard(listener, *mark, *commit))
        });
        let arrivals = try_join_all(heard).await?;
        self.said.extend(said);
        Ok(Spread::of(arrivals.into_iter().map(|arrival| arrival - begun).collect()))
    }

    /// Everybody writes a few messages as fast as they can; in the middle of it `count` of them are
    /// killed. Returns who.
    ///
    /// # Errors
    /// [`Failure`] when one that lives refuses a message.
    pub async fn kill_while_all_write(&mut self, count: usize) -> Result<Vec<usize>> {
        // Never the first, so that it is seen that the others can do without who is gone.
        let step = (self.people.len() / count.max(1)).max(1);
        let killed: Vec<_> = (step - 1..self.people.len()).step_by(step).take(count).collect();
        let mut bursts = Vec::new();
        for person in &self.people {
            let name = person.node.name().to_owned();
            let texts = (0..BURST).map(move |number| format!("burst {number} of {name}"));
            bursts.push(person.burst(self.id, texts).await?);
        }
        for index in &killed {
            if let (Some(burst), Some(person)) = (bursts.get_mut(*index), self.people.get_mut(*index)) {
                burst.acknowledged(KILLED_AFTER).await?;
                person.node.kill();
            }
        }
        for sent in try_join_all(bursts.into_iter().map(Burst::end)).await? {
            self.said.extend(sent);
        }
        Ok(killed)
    }

    /// Starts again who was killed.
    ///
    /// # Errors
    /// [`Failure`] when one does not start.
    pub async fn restart(&mut self, killed: &[usize]) -> Result<()> {
        let id = self.id;
        let killed = self.people.iter_mut().enumerate().filter(|(index, _)| killed.contains(index));
        try_join_all(killed.map(async |(_, person)| {
            person.node.restart().await?;
            person.usable(id).await
        }))
        .await?;
        Ok(())
    }

    /// Parts the second half from the first and the bootstrap. Returns false on loopback, where nothing can
    /// be parted.
    ///
    /// # Errors
    /// [`Failure::Command`] when a namespace is gone.
    pub fn part(&self) -> Result<bool> {
        self.network.part(self.second_half())
    }

    /// Ends that.
    ///
    /// # Errors
    /// [`Failure::Command`] when a namespace is gone.
    pub fn heal(&self) -> Result<()> {
        self.network.heal(self.second_half())
    }

    fn second_half(&self) -> impl Iterator<Item = &Place> {
        self.people.iter().skip(self.people.len() / 2).map(|person| person.node.setup().place())
    }

    /// While parted, everybody says something that their half hears and the other does not.
    ///
    /// # Errors
    /// [`Failure`] when somebody of the same half does not hear it, or somebody of the other does.
    pub async fn talk_in_halves(&mut self, what: &str) -> Result<Spread> {
        let (id, middle) = (self.id, self.people.len() / 2);
        let (one, other) = self.people.split_at_mut(middle);
        let (said_here, said_there) =
            futures::try_join!(take_turns(one, id, what), take_turns(other, id, what))?;
        for (half, foreign) in [(one, &said_there.0), (other, &said_here.0)] {
            for person in half {
                let log: BTreeSet<_> = person.log(id).await?.into_iter().collect();
                let name = person.node.name();
                check(foreign.iter().all(|(commit, _)| !log.contains(commit)), || {
                    format!("{name} not to hear the other half")
                })?;
            }
        }
        let mut times = said_here.1;
        times.extend(said_there.1);
        self.said.extend(said_here.0);
        self.said.extend(said_there.0);
        Ok(Spread::of(times))
    }

    /// Waits until all have the same head. What was acknowledged is part of it, as each copy has its own.
    ///
    /// # Errors
    /// [`Failure::Timeout`] when they do not come to that.
    pub async fn settle(&mut self) -> Result<CommitId> {
        let id = self.id;
        let people = &mut self.people;
        until("everybody", "the same head", async || {
            let heads = people.iter_mut().map(async |person| person.view(id).await.map(|view| view.head));
            let heads: BTreeSet<_> = try_join_all(heads).await?.into_iter().collect();
            Ok(heads.first().copied().flatten().filter(|_| heads.len() == 1))
        })
        .await
    }

    /// Checks that all copies are the same commit for commit, and show the same texts: all that were
    /// acknowledged, none twice.
    ///
    /// # Errors
    /// [`Failure`] with the first difference.
    pub async fn compare(&mut self) -> Result<Agreement> {
        self.settle().await?;
        let id = self.id;
        let logs = try_join_all(self.people.iter_mut().map(async |person| person.log(id).await)).await?;
        let lists = try_join_all(self.people.iter_mut().map(async |person| {
            let mut list = person.messages(id).await?;
            // Running copies show what was written at the same time in different orders.
            list.sort_unstable_by_key(|message| message.id);
            Ok::<_, Failure>(list)
        }))
        .await?;
        let (mut commits, mut texts) = (0, 0);
        for (person, (log, list)) in self.people.iter().zip(logs.iter().zip(&lists)) {
            let name = person.node.name();
            check(logs.first() == Some(log), || format!("the same commits at {name} as at the first"))?;
            let different = lists.first().into_iter().flatten().zip(list).find(|(one, other)| one != other);
            check(different.is_none(), || format!("the same at {name} as at the first, not {different:?}"))?;
            let count = lists.first().map(Vec::len);
            check(count == Some(list.len()), || format!("{count:?} messages at {name}, not {}", list.len()))?;
            let log: BTreeSet<_> = log.iter().copied().collect();
            let lost: Vec<_> = self.said.iter().filter(|(commit, _)| !log.contains(*commit)).collect();
            check(lost.is_empty(), || {
                format!("every acknowledged message at {name}, but {lost:?} are lost")
            })?;
            let shown: Vec<_> =
                list.iter().filter(|it| it.kind == "text/plain").map(|it| it.body.as_str()).collect();
            let different: BTreeSet<_> = shown.iter().copied().collect();
            check(shown.len() == different.len(), || format!("no message twice at {name}: {shown:?}"))?;
            let missing: Vec<_> =
                self.said.values().filter(|text| !different.contains(text.as_str())).collect();
            check(missing.is_empty(), || {
                format!("{name} to show all messages, but {missing:?} are missing")
            })?;
            (commits, texts) = (log.len(), shown.len());
        }
        Ok(Agreement { commits, texts, acknowledged: self.said.len() })
    }

    /// Ends all nodes in order.
    ///
    /// # Errors
    /// As [`Node::stop`].
    pub async fn stop(mut self) -> Result<()> {
        try_join_all(self.people.iter_mut().map(async |person| person.node.stop().await)).await?;
        self.bootstrap.stop().await
    }
}

/// What was acknowledged, and how long it took to each listener.
type Turns = (Vec<(CommitId, String)>, Vec<Duration>);

/// Each of them says something, one after the other, and all others of them hear it.
async fn take_turns(people: &mut [Person], id: ConversationId, what: &str) -> Result<Turns> {
    let (mut said, mut times) = (Vec::new(), Vec::new());
    let names: Vec<_> = people.iter().map(|person| person.node.name().to_owned()).collect();
    for (speaker, name) in names.into_iter().enumerate() {
        let text = format!("{what}, says {name}");
        let (commit, arrivals) = say(people, speaker, id, &text).await?;
        times.extend(arrivals);
        said.push((commit, text));
    }
    Ok((said, times))
}

/// One of them says something, and all others of them hear it; how long it took to each.
async fn say(
    people: &mut [Person],
    speaker: usize,
    id: ConversationId,
    text: &str,
) -> Result<(CommitId, Vec<Duration>)> {
    let marks: Vec<_> = people.iter().map(|person| person.node.events().mark()).collect();
    let begun = Instant::now();
    let person = people.get_mut(speaker);
    let person = person.ok_or_else(|| Failure::Expected(format!("person {speaker} to speak")))?;
    let commit = person.send(id, text).await?;
    let others = people.iter().zip(marks).enumerate().filter(|(listener, _)| *listener != speaker);
    let arrivals = others.map(|(_, (listener, mark))| heard(listener, mark, commit));
    let arrivals = try_join_all(arrivals).await?;
    Ok((commit, arrivals.into_iter().map(|arrival| arrival - begun).collect()))
}

/// When somebody was told of a message.
async fn heard(listener: &Person, since: Mark, commit: CommitId) -> Result<Instant> {
    let told = |it: &skep::NodeEvent| match &it.event {
        Event::Message { message, .. } if message.id == commit => Some(()),
        _ => None,
    };
    Ok(listener.node.events().arrival(since, format!("the message {commit}"), told).await?.0)
}
