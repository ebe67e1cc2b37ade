//! What the calls of an account do for conferences: they know which there are, and carry words between them and
//! their calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_media::room::Mixer;
use skep_protocol::call::Part;
use skep_protocol::conference::{ConferenceInfo, INFO_TYPE, Joined, ORDER_TYPE};
use skep_protocol::ids::DeviceId;

use super::actor::{ConferenceActor, ConferenceConfig};
use super::messages::{
    ConferenceError, ConferenceId, ConferenceMessage, ConferenceRequest, ConferenceTold, ConferenceView,
    Done, MAX_CONFERENCES, OwnerOrder, Said,
};
use crate::blocking::Lane;
use crate::call::actor::{CallsActor, Entry};
use crate::call::media::{MediaError, SoundChoice};
use crate::call::messages::{CallCommand, CallError, CallId, CallsMessage};
use crate::call::session::SessionMessage;
use crate::event::Event;
use crate::supervision::{ChildSpec, OnLimit, Port, Reply, RestartPolicy, Scope};

/// What the names of conferences begin with, among the children.
const PREFIX: &str = "conference-";

/// Those that are hosted here.
#[derive(Debug, Default)]
pub(in crate::call) struct Conferences {
    hosted: BTreeMap<ConferenceId, Hosted>,
    /// How many are about to begin.
    beginning: usize,
}

#[derive(Debug)]
struct Hosted {
    port: Port<ConferenceMessage>,
    view: Option<ConferenceView>,
}

impl Conferences {
    pub(in crate::call) fn has(&self, id: ConferenceId) -> bool {
        self.hosted.contains_key(&id)
    }
}

/// Where nobody waits.
fn nobody() -> Done {
    Reply::channel().0
}

impl CallsActor {
    pub(in crate::call) fn conference(&mut self, request: ConferenceRequest, scope: &mut Scope<'_, Self>) {
        match request {
            ConferenceRequest::Make { calls, sound, reply } => self.make(calls, sound, reply, scope),
            ConferenceRequest::Add { conference, call, reply } => self.add(conference, call, reply, scope),
            ConferenceRequest::Remove { call, reply } => self.remove(call, reply),
            ConferenceRequest::Attach { conference, attached, reply } => {
                self.ask_conference(conference, |reply| ConferenceMessage::Attach(attached, reply), reply);
            }
            ConferenceRequest::HangUp { conference, reply } => {
                self.ask_conference(conference, ConferenceMessage::End, reply);
            }
            ConferenceRequest::Record { conference, to, reply } => {
                self.ask_conference(conference, |reply| ConferenceMessage::Record(to, reply), reply);
            }
            ConferenceRequest::Order { of, order, reply } => self.order(of, order, reply),
            ConferenceRequest::List(reply) => {
                let views = self.conferences.hosted.values().filter_map(|hosted| hosted.view.clone());
                reply.send(views.collect());
            }
            ConferenceRequest::Told(id, told) => self.conference_told(id, told, scope),
        }
    }

    fn ask_conference(&self, id: ConferenceId, message: impl FnOnce(Done) -> ConferenceMessage, reply: Done) {
        let Some(hosted) = self.conferences.hosted.get(&id) else {
            return reply.send(Err(ConferenceError::Unknown(id).into()));
        };
        // Whoever finds no room learns so by the reply that is dropped.
        if let Err(error) = hosted.port.try_send(message(reply)) {
            tracing::debug!(%error, "a conference is too busy");
        }
    }

    /// A call that can join: with whom it is.
    fn free_call(&self, call: CallId) -> Result<(&Entry, DeviceId), CallError> {
        let entry = self.calls.get(&call).filter(|entry| !entry.over).ok_or(CallError::Unknown(call))?;
        if entry.conference.is_some() {
            return Err(ConferenceError::InOne(call).into());
        }
        let device = entry.device.filter(|_| entry.answered.is_some());
        Ok((entry, device.ok_or(ConferenceError::NotAnswered(call))?))
    }

    fn make(
        &mut self,
        calls: Vec<CallId>,
        sound: SoundChoice,
        reply: Reply<Result<ConferenceId, CallError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let may = || -> Result<(), CallError> {
            if self.conferences.hosted.len() + self.conferences.beginning >= MAX_CONFERENCES {
                return Err(ConferenceError::TooMany.into());
            }
            if calls.is_empty() {
                return Err(ConferenceError::Empty.into());
            }
            calls.iter().try_for_each(|call| self.free_call(*call).map(drop))?;
            Ok(self.config.media.check(&sound)?)
        };
        if let Err(error) = may() {
            return reply.send(Err(error));
        }
        self.conferences.beginning += 1;
        let media = Arc::clone(&self.config.media);
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let mixer = async move {
            let mixer = pool.run(share, Lane::Sound, move || media.mixer()).await;
            mixer.unwrap_or_else(|error| Err(MediaError::Broken(error.to_string())))
        };
        scope.spawn_background(mixer, move |actor, mixer, scope| {
            actor.conferences.beginning -= 1;
            match mixer {
                Ok(mixer) => {
                    let id = actor.begin(mixer, sound, scope);
                    for call in calls {
                        actor.add(id, call, nobody(), scope);
                    }
                    reply.send(Ok(id));
                }
                Err(error) => reply.send(Err(ConferenceError::from(error).into())),
            }
        });
    }

    fn begin(&mut self, mixer: Arc<Mixer>, sound: SoundChoice, scope: &mut Scope<'_, Self>) -> ConferenceId {
        let id = ConferenceId(self.new_id(scope).0);
        let told = move |told| CallsMessage::Conference(ConferenceRequest::Told(id, told));
        let config = ConferenceConfig {
            id,
            own: (self.config.account, self.config.device_id),
            sound,
            media: Arc::clone(&self.config.media),
            mixer,
            pool: self.config.pool.clone(),
            share: self.config.share,
            told: scope.port().outlet(told),
        };
        // What a conference is cannot be made anew from anything: of one that fails the calls go on.
        let once = RestartPolicy { max_restarts: 0, on_limit: OnLimit::GiveUp, ..RestartPolicy::default() };
        let spec = ChildSpec::new(format!("{PREFIX}{id}")).restart(once);
        let port = scope.start_child(spec, move || ConferenceActor::new(config.clone()));
        self.conferences.hosted.insert(id, Hosted { port, view: None });
        id
    }

    fn add(&mut self, id: ConferenceId, call: CallId, reply: Done, scope: &mut Scope<'_, Self>) {
        if !self.conferences.has(id) {
            return reply.send(Err(ConferenceError::Unknown(id).into()));
        }
        let (entry, device) = match self.free_call(call) {
            Ok(free) => free,
            Err(error) => return reply.send(Err(error)),
        };
        let joined = Joined {
            account: entry.peer,
            device,
            call_id: call.to_string(),
            video: None,
            muted: entry.peer_muted,
        };
        let switch = Arc::clone(&entry.switch);
        self.ask_conference(id, |reply| ConferenceMessage::Join { call, joined, switch, reply }, reply);
        if let Some(entry) = self.calls.get_mut(&call) {
            entry.conference = Some(id);
        }
        self.show(call, scope);
    }

    fn remove(&mut self, call: CallId, reply: Done) {
        let conference = self.calls.get(&call).and_then(|entry| entry.conference);
        let Some(id) = conference else {
            return reply.send(Err(ConferenceError::NotInOne(call.0).into()));
        };
        self.ask_conference(id, |reply| ConferenceMessage::Leave(call, false, reply), reply);
    }

    fn order(&self, of: u64, order: OwnerOrder, reply: Done) {
        if self.conferences.has(ConferenceId(of)) {
            return self.ask_conference(
                ConferenceId(of),
                |reply| ConferenceMessage::Order(order, reply),
                reply,
            );
        }
        reply.send(self.order_there(of, order));
    }

    /// An order to the host of a conference that a call of ours is in.
    fn order_there(&self, of: u64, order: OwnerOrder) -> Result<(), CallError> {
        let entry = self.calls.get(&CallId(of)).filter(|entry| !entry.over);
        let in_one = entry.and_then(|entry| Some((entry, entry.told.as_ref()?)));
        let (entry, info) = in_one.ok_or(ConferenceError::NotInOne(of))?;
        let whom = order.whom(self.config.account);
        // Newer orders are about devices: all of somebody; but the own hand is that of this one.
        let own_hand = matches!(order, OwnerOrder::Hand(..)) && whom == self.config.account;
        let mut devices: Vec<Option<DeviceId>> =
            info.entries.iter().filter(|it| it.account() == Some(whom)).map(|it| it.device()).collect();
        if devices.is_empty() {
            return Err(ConferenceError::NobodyThere(whom).into());
        }
        if own_hand {
            devices = vec![Some(self.config.device_id)];
        }
        // Older orders are about persons.
        devices.truncate(if info.version == 0 { 1 } else { devices.len() });
        for device in devices {
            let body = order.order(self.config.account, device).write(info.version);
            let parts = body.map(|body| vec![Part { content_type: ORDER_TYPE.to_owned(), body }]);
            if let Some(parts) = parts {
                entry.port.try_send(SessionMessage::Say(Said::Message(parts)))?;
            }
        }
        Ok(())
    }

    /// The other side of a call said something.
    pub(in crate::call) fn said_in(&mut self, id: CallId, said: Said, scope: &mut Scope<'_, Self>) {
        let Some(entry) = self.calls.get_mut(&id) else { return };
        if let Some(conference) = entry.conference {
            if let Some(hosted) = self.conferences.hosted.get(&conference)
                && let Err(error) = hosted.port.try_send(ConferenceMessage::Said(id, said))
            {
                tracing::debug!(%error, "a conference is too busy");
            }
            return;
        }
        let Said::Message(parts) = said else { return };
        let infos = parts.iter().filter(|part| part.mime_type() == INFO_TYPE.to_ascii_lowercase());
        let Some(info) = infos.filter_map(|part| ConferenceInfo::read(&part.body)).next_back() else {
            return;
        };
        let told = Some(info).filter(|info| !info.is_over());
        if entry.told != told {
            entry.told = told;
            self.show(id, scope);
        }
    }

    /// A call is over.
    pub(in crate::call) fn left_conference(&mut self, id: CallId) {
        let conference = self.calls.get_mut(&id).and_then(|entry| entry.conference.take());
        if let Some(conference) = conference {
            self.ask_conference(conference, |reply| ConferenceMessage::Leave(id, true, reply), nobody());
        }
    }

    fn conference_told(&mut self, id: ConferenceId, told: ConferenceTold, scope: &mut Scope<'_, Self>) {
        match told {
            ConferenceTold::Say(call, said) => {
                let entry = self.calls.get(&call).filter(|entry| !entry.over);
                if let Some(entry) = entry
                    && let Err(error) = entry.port.try_send(SessionMessage::Say(said))
                {
                    tracing::debug!(%error, "a call is too busy");
                }
            }
            ConferenceTold::HangUp(call) => self.command(call, CallCommand::HangUp, nobody()),
            ConferenceTold::Released(call) => {
                if self.calls.get(&call).is_some_and(|entry| entry.conference == Some(id)) {
                    self.release(call, scope);
                }
            }
            ConferenceTold::Changed(view) => {
                if let Some(hosted) = self.conferences.hosted.get_mut(&id) {
                    hosted.view = Some(view.clone());
                    self.emit(Event::ConferenceChanged { conference: view }, scope);
                }
            }
            ConferenceTold::Over => self.conference_over(id, scope),
        }
    }

    /// A call goes on by itself.
    fn release(&mut self, call: CallId, scope: &mut Scope<'_, Self>) {
        let Some(entry) = self.calls.get_mut(&call) else { return };
        entry.conference = None;
        if !entry.over {
            let (switch, runtime) = (Arc::clone(&entry.switch), tokio::runtime::Handle::current());
            let (pool, share) = (self.config.pool.clone(), self.config.share);
            let restore = move || {
                let _runtime = runtime.enter();
                switch.restore();
            };
            let restore = async move { pool.run(share, Lane::Sound, restore).await };
            scope.spawn_background(restore, |_, _, _| ());
        }
        self.show(call, scope);
    }

    fn conference_over(&mut self, id: ConferenceId, scope: &mut Scope<'_, Self>) {
        if self.conferences.hosted.remove(&id).is_none() {
            return;
        }
        let left = self.calls.iter().filter(|(_, entry)| entry.conference == Some(id));
        for call in left.map(|(call, _)| *call).collect::<Vec<_>>() {
            if let Some(entry) = self.calls.get_mut(&call) {
                entry.conference = None;
            }
        }
        self.emit(Event::ConferenceEnded { conference: id }, scope);
    }

    /// A child failed; if it was a conference, its calls go on by themselves.
    pub(in crate::call) fn conference_failed(&mut self, name: &str, scope: &mut Scope<'_, Self>) {
        let Some(id) = name.strip_prefix(PREFIX).and_then(|id| id.parse().ok()) else { return };
        let left = self.calls.iter().filter(|(_, entry)| entry.conference == Some(id));
        for call in left.map(|(call, _)| *call).collect::<Vec<_>>() {
            if let Some(entry) = self.calls.get(&call) {
                entry.switch.leave();
            }
            self.release(call, scope);
        }
        self.conference_over(id, scope);
    }
}
