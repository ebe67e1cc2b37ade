//! Asks name servers: questions, answers and the time in; requests, answers and deadlines out
//! (`spec: name-server 3-7`).
//!
//! ```text
//!   ask ──► cache ──► answer
//!            │ not in it
//!            ▼
//!           waiting ──► sent ──► answer ──► cache
//!              ▲          │
//!              └──────────┘ no connection, no answer in time, the server's fault: three times in all
//! ```
//!
//! Equal questions are asked once. Few requests are under way at one time, and fewer to one server. A
//! server that fails again and again is left alone for a while. Names that lists want are asked for after
//! what somebody waits for, and not again soon if there are none.

mod job;
mod nameless;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use job::{Job, Progress, State, Task};
use nameless::Nameless;
use trouble::Troubles;

use super::answer::{AskError, Evidence, RegisterError, Resolution};
use super::cache::NameCache;
use super::directory::Profile;
use super::http::{Request, Response};
use super::name::Name;
use super::registration::Registration;
use super::server_url::ServerUrl;
use crate::drt::random::Random;
use crate::ids::AccountId;
use crate::time::{Moment, Now};

pub use job::RequestId;

/// How long an answer may take, from the sending to its last byte, redirections included
/// (`spec: name-server 2`).
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a request is sent before a question is given up.
pub const SENDS: u8 = 3;

/// Wait before a request is sent again; four times that before the next.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// Most that is added to a wait, in milliseconds, so that many clients do not come back at once.
const WAIT_SPREAD: usize = 1000;

/// Requests under way at one time.
pub const MAX_IN_FLIGHT: usize = 16;

/// Requests under way to one server, so that a slow one does not take the room of others.
pub const MAX_IN_FLIGHT_PER_SERVER: usize = 4;

/// Questions and registrations that may wait for an answer: one for each of many contacts.
pub const MAX_QUESTIONS: usize = 4096;

/// Names that nobody waits for and that may wait for an answer, so that people who ask have room.
pub const MAX_WANTED: usize = MAX_QUESTIONS / 2;

/// How long after something new the cache is saved, with what else is new by then (`spec: name-server 7`).
pub const SAVE_DELAY: Duration = Duration::from_secs(5);

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Whose a name is.
    Name(Name),
    /// What the name of an account is.
    Account(AccountId),
    /// Who is in the server's directory and fits a text.
    Search(String),
}

/// A question to a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Whom to ask.
    pub server: ServerUrl,
    /// What about.
    pub about: About,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Whose a name is.
    Account(Resolution),
    /// The name of an account. It leads back to the account.
    Name {
        /// The name.
        name: Name,
        /// How much it is known.
        evidence: Evidence,
    },
    /// Who is in a directory.
    Profiles(Vec<Profile>),
}

/// The answer to a question; `Ok(None)` says that nothing like that is registered.
pub type Answer = Result<Option<Found>, AskError>;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a request, and tell what came back, or that nothing did.
    Send {
        /// Names it.
        id: RequestId,
        /// What to send.
        request: Request,
    },
    /// Give a request up; nobody wants to know of it any more.
    Abort(RequestId),
    /// Tell everybody who asked this.
    Answer {
        /// What was asked.
        question: Question,
        /// The answer.
        answer: Answer,
    },
    /// Tell who registered.
    Registered {
        /// Where.
        server: ServerUrl,
        /// Who.
        account: AccountId,
        /// As what.
        name: Name,
        /// Whether it was taken.
        result: Result<(), RegisterError>,
    },
    /// Write the cache.
    Save(Vec<u8>),
}

/// Numbers a job. What somebody waits for comes before what nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct JobId {
    urgency: Urgency,
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Awaited,
    Wanted,
}

/// Asks name servers, for all accounts of a node.
#[derive(Debug)]
pub struct NameClient {
    cache: NameCache,
    save_at: Option<Moment>,
    jobs: BTreeMap<JobId, Job>,
    asked: BTreeMap<Question, JobId>,
    registering: BTreeMap<(ServerUrl, AccountId), JobId>,
    in_flight: BTreeMap<RequestId, JobId>,
    troubles: Troubles,
    nameless: Nameless,
    random: Random,
    numbers: u64,
    /// Up to when everything was sent that there was room for.
    settled: Moment,
}

impl NameClient {
    /// A client that knows what is in `cache`; `seed` spreads repetitions.
    #[must_use]
    pub fn new(cache: NameCache, seed: u64) -> Self {
        Self {
            cache,
            save_at: None,
            jobs: BTreeMap::new(),
            asked: BTreeMap::new(),
            registering: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            troubles: Troubles::default(),
            nameless: Nameless::default(),
            random: Random::from_seed(seed),
            numbers: 0,
            settled: Moment::default(),
        }
    }

    /// What is known without asking.
    #[must_use]
    pub const fn cache(&self) -> &NameCache {
        &self.cache
    }

    /// Asks. The answer comes at once if it is known, and once for all who asked the same.
    pub fn ask(&mut self, now: Now, question: Question) -> Vec<Action> {
        self.ask_with(now, question, Urgency::Awaited)
    }

    /// Asks for the names of people that lists show, unless they are known or were asked for lately. Of too
    /// many the first are asked for.
    pub fn want(
        &mut self,
        now: Now,
        server: &ServerUrl,
        accounts: impl IntoIterator<Item = AccountId>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        for account in accounts {
            if self.jobs.len() >= MAX_WANTED || self.troubles.is_resting(now.moment, server) {
                break;
            }
            let question = Question { server: server.clone(), about: About::Account(account) };
            let is_resting = self.nameless.is_resting(now.moment, &question);
            if !is_resting && self.known(now, &question).is_none() {
                actions.extend(self.ask_with(now, question, Urgency::Wanted));
            }
        }
        actions
    }

    fn ask_with(&mut self, now: Now, question: Question, urgency: Urgency) -> Vec<Action> {
        let refused = if let Some(found) = self.known(now, &question) {
            Ok(Some(found))
        } else if self.asked.contains_key(&question) {
            return Vec::new();
        } else if self.troubles.is_resting(now.moment, &question.server) {
            Err(AskError::Resting)
        } else if self.jobs.len() >= MAX_QUESTIONS {
            Err(AskError::Busy)
        } else {
            let job = self.begin(now, urgency, Task::Ask(question.clone()), question.server.clone());
            self.asked.insert(question, job);
            return self.try_send(now, job).into_iter().collect();
        };
        vec![Action::Answer { question, answer: refused }]
    }

    /// Registers. An account registers one name at a time at a server (`spec: name-server 5`).
    pub fn register(&mut self, now: Now, server: ServerUrl, registration: Registration) -> Vec<Action> {
        let (account, name) = (registration.account(), registration.name().clone());
        let key = (server, account);
        let known =
            self.cache.account_of(now.wall, &key.0, &name).filter(|it| it.evidence == Evidence::Signed);
        let result = match known {
            _ if self.registering.contains_key(&key) => Err(RegisterError::Pending),
            _ if self.jobs.len() >= MAX_QUESTIONS => Err(AskError::Busy.into()),
            Some(known) if known.account == account => Ok(()),
            Some(_) => Err(RegisterError::Taken),
            None => {
                let task = Task::Register(Box::new(registration));
                let job = self.begin(now, Urgency::Awaited, task, key.0.clone());
                self.registering.insert(key, job);
                return self.try_send(now, job).into_iter().collect();
            }
        };
        vec![Action::Registered { server: key.0, account, name, result }]
    }

    /// Takes what came back for a request. What comes after the request was given up is ignored.
    pub fn response(&mut self, now: Now, id: RequestId, response: Response<'_>) -> Vec<Action> {
        let Some((number, mut job)) = self.take(id) else { return Vec::new() };
        let progress = job.read(response);
        self.go_on(now, number, job, progress)
    }

    /// Takes that there was no connection, or that it broke.
    pub fn unreachable(&mut self, now: Now, id: RequestId) -> Vec<Action> {
        let Some((number, job)) = self.take(id) else { return Vec::new() };
        self.go_on(now, number, job, Progress::Failed(AskError::Unreachable))
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) -> Vec<Action> {
        let overdue = self.jobs.values().filter_map(|job| match job.state {
            State::Sent(id, deadline) if deadline <= now.moment => Some(id),
            _ => None,
        });
        let overdue: Vec<RequestId> = overdue.collect();
        let mut actions: Vec<Action> = overdue.iter().copied().map(Action::Abort).collect();
        for id in overdue {
            if let Some((number, job)) = self.take(id) {
                actions.extend(self.go_on(now, number, job, Progress::Failed(AskError::TimedOut)));
            }
        }
        if self.save_at.is_some_and(|due| due <= now.moment) {
            actions.extend(self.unsaved().map(Action::Save));
        }
        actions.extend(self.pump(now));
        actions
    }

    /// The file of what is known, if something in it is new; it counts as saved then.
    pub fn unsaved(&mut self) -> Option<Vec<u8>> {
        self.save_at.take().map(|_| self.cache.encode())
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let due = self.jobs.values().filter_map(|job| match job.state {
            State::Sent(_, deadline) => Some(deadline),
            // What is due already waits for room, which an answer makes.
            State::Waiting(due) => (due > self.settled).then_some(due),
        });
        due.chain(self.save_at).min()
    }

    fn known(&self, now: Now, question: &Question) -> Option<Found> {
        match &question.about {
            About::Name(name) => self.cache.account_of(now.wall, &question.server, name).map(Found::Account),
            About::Account(account) => {
                let (name, evidence) = self.cache.name_of(now.wall, &question.server, *account)?;
                Some(Found::Name { name, evidence })
            }
            About::Search(_) => None,
        }
    }

    fn begin(&mut self, now: Now, urgency: Urgency, task: Task, server: ServerUrl) -> JobId {
        let id = JobId { urgency, number: self.number() };
        self.jobs.insert(id, Job::new(task, server, now.moment));
        id
    }

    const fn number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }

    /// The job whose request has ended.
    fn take(&mut self, id: RequestId) -> Option<(JobId, Job)> {
        let number = self.in_flight.remove(&id)?;
        Some((number, self.jobs.remove(&number)?))
    }

    fn go_on(&mut self, now: Now, number: JobId, mut job: Job, progress: Progress) -> Vec<Action> {
        let mut actions = Vec::new();
        match progress {
            Progress::Failed(error) if error.is_passing() => {
                self.troubles.failed(now.moment, &job.server);
                let is_resting = self.troubles.is_resting(now.moment, &job.server);
                if is_resting {
                    actions.extend(self.give_up_on(now, &job.server.clone()));
                }
                if job.sends < SENDS && !(is_resting && job.is_question()) {
                    job.state = State::Waiting(now.moment.plus(self.wait(job.sends)));
                    self.jobs.insert(number, job);
                } else {
                    actions.push(self.end(now, job, Progress::Failed(error)));
                }
            }
            Progress::Redirected(request) => {
                let deadline = match job.state {
                    State::Sent(_, deadline) => deadline,
                    State::Waiting(_) => now.moment.plus(REPLY_TIMEOUT),
                };
                actions.push(self.send(number, job, request, deadline));
            }
            Progress::Next(task) => {
                self.troubles.answered(&job.server);
                if let Some(found) = self.confirmed(now, &job.server, &task) {
                    actions.push(self.end(now, job, Progress::Answered(Some(found))));
                } else {
                    self.jobs.insert(number, Job::new(task, job.server, now.moment));
                }
            }
            ended => {
                self.troubles.answered(&job.server);
                actions.push(self.end(now, job, ended));
            }
        }
        actions.extend(self.pump(now));
        actions
    }

    /// The name claimed for an id, if it is known to lead back to it.
    fn confirmed(&self, now: Now, server: &ServerUrl, task: &Task) -> Option<Found> {
        let Task::Confirm(question, name) = task else { return None };
        let known = self.cache.account_of(now.wall, server, name)?;
        let found = Found::Name { name: name.clone(), evidence: known.evidence };
        (question.about == About::Account(known.account)).then_some(found)
    }

    /// Ends a job that is out of the list already.
    fn end(&mut self, now: Now, job: Job, ended: Progress) -> Action {
        match job.task {
            Task::Ask(question) | Task::Confirm(question, _) => {
                self.asked.remove(&question);
                let answer = match ended {
                    Progress::Answered(found) => Ok(found),
                    Progress::Failed(error) => Err(error),
                    // Answers to questions are of no other kind.
                    _ => Err(AskError::Garbage),
                };
                self.note(now, &question, &answer);
                if matches!(question.about, About::Account(_)) {
                    self.nameless.answered(now.moment, &question, &answer);
                }
                Action::Answer { question, answer }
            }
            Task::Register(registration) | Task::Check(registration) => {
                self.end_registration(now, job.server, &registration, ended)
            }
        }
    }

    fn end_registration(
        &mut self,
        now: Now,
        server: ServerUrl,
        registration: &Registration,
        ended: Progress,
    ) -> Action {
        let (account, name) = (registration.account(), registration.name().clone());
        let result = match ended {
            Progress::Registered => Ok(()),
            Progress::Refused(error) => Err(error),
            Progress::Failed(error) => Err(error.into()),
            // Answers to registrations are of no other kind.
            _ => Err(AskError::Garbage.into()),
        };
        let key = (server, account);
        self.registering.remove(&key);
        if result.is_ok() {
            self.learn(now, &key.0, &name, Resolution { account, evidence: Evidence::Signed });
        }
        Action::Registered { server: key.0, account, name, result }
    }

    /// Keeps what was learned.
    fn note(&mut self, now: Now, question: &Question, answer: &Answer) {
        match (answer, &question.about) {
            (Ok(Some(Found::Account(resolution))), About::Name(name)) => {
                self.learn(now, &question.server, name, *resolution);
            }
            (Ok(Some(Found::Name { name, evidence })), About::Account(account)) => {
                let resolution = Resolution { account: *account, evidence: *evidence };
                self.learn(now, &question.server, name, resolution);
            }
            (Ok(None), About::Name(name)) if self.cache.forget_account_of(&question.server, name) => {
                self.save_later(now);
            }
            (Ok(None), About::Account(account)) if self.cache.forget_name_of(&question.server, *account) => {
                self.save_later(now);
            }
            _ => {}
        }
    }

    fn learn(&mut self, now: Now, server: &ServerUrl, name: &Name, resolution: Resolution) {
        self.cache.learn(now.wall, server, name, resolution);
        self.save_later(now);
    }

    fn save_later(&mut self, now: Now) {
        self.save_at.get_or_insert(now.moment.plus(SAVE_DELAY));
    }

    /// Ends all questions that wait for a server that is left alone.
    fn give_up_on(&mut self, now: Now, server: &ServerUrl) -> Vec<Action> {
        let waits =
            |job: &Job| job.is_question() && matches!(job.state, State::Waiting(_)) && job.server == *server;
        let waiting = self.jobs.iter().filter(|(_, job)| waits(job)).map(|(number, _)| *number);
        let waiting: Vec<JobId> = waiting.collect();
        let jobs: Vec<Job> = waiting.iter().filter_map(|number| self.jobs.remove(number)).collect();
        jobs.into_iter().map(|job| self.end(now, job, Progress::Failed(AskError::Resting))).collect()
    }

    /// Sends what is due and has room: first what somebody waits for, the oldest first.
    fn pump(&mut self, now: Now) -> Vec<Action> {
        self.settled = now.moment;
        let mut busy = self.in_flight_by_server();
        let mut room = MAX_IN_FLIGHT.saturating_sub(self.in_flight.len());
        let mut chosen = Vec::new();
        for (number, job) in &self.jobs {
            if room == 0 {
                break;
            }
            let to_server = busy.get(&job.server).copied().unwrap_or_default();
            if job.is_due(now.moment) && to_server < MAX_IN_FLIGHT_PER_SERVER {
                busy.insert(job.server.clone(), to_server + 1);
                room -= 1;
                chosen.push(*number);
            }
        }
        chosen.into_iter().filter_map(|number| self.send_first(now, number)).collect()
    }

    /// Sends a new job if there is room.
    fn try_send(&mut self, now: Now, number: JobId) -> Option<Action> {
        let busy = self.in_flight_by_server();
        let to_server = busy.get(&self.jobs.get(&number)?.server).copied().unwrap_or_default();
        let has_room = self.in_flight.len() < MAX_IN_FLIGHT && to_server < MAX_IN_FLIGHT_PER_SERVER;
        if has_room { self.send_first(now, number) } else { None }
    }

    /// Sends a job with the time that it has for all its redirections.
    fn send_first(&mut self, now: Now, number: JobId) -> Option<Action> {
        let mut job = self.jobs.remove(&number)?;
        let request = job.request();
        job.sends = job.sends.saturating_add(1);
        Some(self.send(number, job, request, now.moment.plus(REPLY_TIMEOUT)))
    }

    fn in_flight_by_server(&self) -> BTreeMap<ServerUrl, usize> {
        let mut busy = BTreeMap::new();
        for job in self.in_flight.values().filter_map(|number| self.jobs.get(number)) {
            *busy.entry(job.server.clone()).or_default() += 1;
        }
        busy
    }

    fn send(&mut self, number: JobId, mut job: Job, request: Request, deadline: Moment) -> Action {
        let id = RequestId(self.number());
        job.state = State::Sent(id, deadline);
        self.in_flight.insert(id, number);
        self.jobs.insert(number, job);
        Action::Send { id, request }
    }

    fn wait(&mut self, sends: u8) -> Duration {
        let spread = u64::try_from(self.random.below(WAIT_SPREAD)).unwrap_or_default();
        let longer = 4_u32.saturating_pow(u32::from(sends.saturating_sub(1)));
        FIRST_WAIT.saturating_mul(longer).saturating_add(Duration::from_millis(spread))
    }
}
