//! One question or registration on its way to an answer.

use super::{Found, Question};
use crate::names::answer::{self, AskError, RegisterError};
use crate::names::directory;
use crate::names::http::{Method, Request, Response};
use crate::names::name::Name;
use crate::names::registration::Registration;
use crate::names::server_url::ServerUrl;
use crate::time::Moment;

/// Redirections followed for one request (`spec: name-server 2`).
const MAX_REDIRECTS: u8 = 5;

/// Names a request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What is asked now, and what for.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// A question.
    Ask(Question),
    /// Whether the name that the server claims for an id leads back to it.
    Confirm(Question, Name),
    /// A registration.
    Register(Box<Registration>),
    /// Whether an earlier sending of a registration, whose answer was lost, arrived.
    Check(Box<Registration>),
}

/// Where it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// It is sent when its time has come and there is room.
    Waiting(Moment),
    /// It was sent, and is given up at that time.
    Sent(RequestId, Moment),
}

/// What an answer means for a job.
#[derive(Debug)]
pub(super) enum Progress {
    /// A question is answered.
    Answered(Option<Found>),
    /// A registration was taken.
    Registered,
    /// There is another thing to ask.
    Next(Task),
    /// The server sent us elsewhere.
    Redirected(Request),
    /// A question has no answer.
    Failed(AskError),
    /// A registration was refused.
    Refused(RegisterError),
}

/// One question or registration.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) server: ServerUrl,
    pub(super) state: State,
    /// How often the present task was sent.
    pub(super) sends: u8,
    redirects: u8,
    /// Where the request went that is under way.
    place: ServerUrl,
}

impl Job {
    pub(super) fn new(task: Task, server: ServerUrl, now: Moment) -> Self {
        let place = server.clone();
        Self { task, server, state: State::Waiting(now), sends: 0, redirects: 0, place }
    }

    /// Whether it is no registration.
    pub(super) const fn is_question(&self) -> bool {
        matches!(self.task, Task::Ask(_) | Task::Confirm(..))
    }

    /// Whether its time to be sent has come.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        matches!(self.state, State::Waiting(due) if due <= now)
    }

    /// The request that begins the present task.
    pub(super) fn request(&mut self) -> Request {
        self.redirects = 0;
        self.place = self.server.clone();
        match &self.task {
            Task::Ask(question) => question.request(),
            Task::Confirm(_, name) => Request::name(&self.server, name),
            Task::Check(registration) => Request::name(&self.server, registration.name()),
            Task::Register(registration) => Request {
                method: Method::Post,
                body: registration.body(),
                ..Request::name(&self.server, registration.name())
            },
        }
    }

    /// What an answer means.
    pub(super) fn read(&mut self, response: Response<'_>) -> Progress {
        let is_registration = matches!(self.task, Task::Register(_));
        if matches!(response.status, 301 | 302 | 303 | 307 | 308) && !is_registration {
            return self
                .redirect(response)
                .map_or(Progress::Failed(AskError::Redirected), Progress::Redirected);
        }
        match &self.task {
            Task::Ask(question) => question.read(response),
            Task::Confirm(question, name) => match answer::resolution(name, response) {
                Ok(resolution) => {
                    let confirmed = resolution.filter(|it| question.is_about(it.account));
                    Progress::Answered(
                        confirmed.map(|it| Found::Name { name: name.clone(), evidence: it.evidence }),
                    )
                }
                Err(error) => Progress::Failed(error),
            },
            Task::Register(registration) => match answer::registered(response) {
                Ok(()) => Progress::Registered,
                Err(RegisterError::Taken) if self.sends > 1 => {
                    Progress::Next(Task::Check(registration.clone()))
                }
                Err(RegisterError::Server(error)) => Progress::Failed(error),
                Err(error) => Progress::Refused(error),
            },
            Task::Check(registration) => match answer::resolution(registration.name(), response) {
                Ok(Some(resolution)) if resolution.account == registration.account() => Progress::Registered,
                Ok(_) => Progress::Refused(RegisterError::Taken),
                Err(error) => Progress::Failed(error),
            },
        }
    }

    fn redirect(&mut self, response: Response<'_>) -> Option<Request> {
        self.redirects = self.redirects.checked_add(1).filter(|count| *count <= MAX_REDIRECTS)?;
        let (server, target) = self.place.redirected(response.location?)?;
        self.place = server.clone();
        Some(Request { method: Method::Get, server, target, body: Vec::new() })
    }
}

impl Question {
    fn request(&self) -> Request {
        match &self.about {
            super::About::Name(name) => Request::name(&self.server, name),
            super::About::Account(account) => Request::address(&self.server, *account),
            super::About::Search(text) => directory::search(&self.server, text),
        }
    }

    fn read(&self, response: Response<'_>) -> Progress {
        let answer = match &self.about {
            super::About::Name(name) => {
                answer::resolution(name, response).map(|resolution| resolution.map(Found::Account))
            }
            super::About::Account(_) => match answer::name_of(response) {
                Ok(Some(name)) => return Progress::Next(Task::Confirm(self.clone(), name)),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            },
            super::About::Search(_) => directory::found(response).map(|found| Some(Found::Profiles(found))),
        };
        answer.map_or_else(Progress::Failed, Progress::Answered)
    }

    fn is_about(&self, account: crate::ids::AccountId) -> bool {
        matches!(self.about, super::About::Account(asked) if asked == account)
    }
}
