//! What is said to other devices, and what they say.

use std::time::Duration;

use bytes::Bytes;
use skep_protocol::call::{Control, Renewals, Taken};
use skep_protocol::sdp::{Codec, LocalMedia, NotAgreed, Origin, answer, offer};

use super::*;
use crate::call::paths::{PathError, PathRole};
use crate::peer::messages::{Channel, LinkError};
use crate::supervision::AskError;

/// How long a device may take to open a channel for a call: as long as it would ring.
const OPEN: Duration = Duration::from_secs(30);

/// How long the other device may take to read a message: as long as a request is repeated in vain.
const SENDING: Duration = Duration::from_secs(32);

/// How long the devices of a person are looked for.
const FIND: Duration = Duration::from_secs(30);

/// How long the links may take to say which devices are linked.
const ASK: Duration = Duration::from_secs(5);

/// What stands for a port where ICE says more.
const DISCARD: u16 = 9;

impl CallSession {
    /// Opens a new ICE session, and offers it: to begin, or to go on.
    pub(super) fn gather_and_offer(&mut self, scope: &mut Scope<'_, Self>) {
        let (gather, number) = (self.config.paths.gather(PathRole::Offering), self.next_gather());
        scope.spawn_background(gather, move |call, gathered, scope| {
            let current = call.gathers(number);
            match gathered {
                _ if call.ended || !current => {}
                Ok(gathered) => {
                    call.gathered = Some(gathered);
                    call.new_key(scope);
                    if call.dialog.is_none() {
                        call.begin_dialling(scope);
                    } else if let Err(error) = call.offer_again(scope) {
                        call.fail(CallOver::Failed, &error.to_string(), scope);
                    }
                }
                Err(error) => call.fail(CallOver::NoPath, &error.to_string(), scope),
            }
            call.arm(scope);
        });
    }

    fn next_gather(&mut self) -> u64 {
        self.gather += 1;
        self.gathering = true;
        self.gather
    }

    /// Whether this session was the last to be opened. If so it is open now, or cannot be.
    fn gathers(&mut self, number: u64) -> bool {
        let current = self.gather == number;
        self.gathering &= !current;
        current
    }

    fn new_key(&mut self, scope: &Scope<'_, Self>) {
        let mut key = [0; SrtpKey::LENGTH];
        scope.environment().fill_random(&mut key);
        self.key = Some(SrtpKey::new(key));
    }

    fn begin_dialling(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(offer) = self.our_offer() else { return };
        self.ours = Some(offer.clone());
        self.dialog = Some(Dialog::Placed(Box::new(OutgoingCall::new(offer))));
        let (links, directory, peer) =
            (self.config.links.clone(), self.config.directory.clone(), self.config.peer);
        let linked = async move { links.ask(ASK, LinksMessage::List).await.unwrap_or_default() };
        scope.spawn_background(linked, move |call, linked, scope| {
            let devices = linked.into_iter().filter(|it| it.account == peer && it.state == "up");
            call.found(devices.map(|it| it.device).collect(), false, scope);
            let find = async move {
                let ask = |reply| DirectoryMessage::Devices { account: peer, reply };
                directory.ask(FIND, ask).await.unwrap_or_default()
            };
            scope.spawn_background(find, |call, chains, scope| {
                call.found(chains.iter().map(|chain| chain.device_id()).collect(), true, scope);
            });
        });
    }

    fn found(&mut self, devices: Vec<DeviceId>, all: bool, scope: &mut Scope<'_, Self>) {
        if let Some(Dialog::Placed(call)) = &mut self.dialog {
            let dialled = call.found(devices, all);
            self.dialled(dialled, scope);
        }
        self.arm(scope);
    }

    fn open(&mut self, device: DeviceId, scope: &mut Scope<'_, Self>) {
        let links = self.config.links.clone();
        let open = async move {
            let name = "sip".to_owned();
            let ask = |reply| LinksMessage::Open { device, name, deadline: OPEN, reply };
            links.ask(OPEN * 2, ask).await
        };
        scope.spawn_background(open, move |call, opened, scope| {
            call.opened(device, opened, scope);
            call.arm(scope);
        });
    }

    fn opened(
        &mut self,
        device: DeviceId,
        opened: Result<Result<Channel, LinkError>, AskError>,
        scope: &mut Scope<'_, Self>,
    ) {
        let (now, ends, mut seed) = (scope.now(), self.ends(), [0; 32]);
        scope.environment().fill_random(&mut seed);
        let Some(Dialog::Placed(call)) = &mut self.dialog else { return };
        let channel = match opened {
            Ok(Ok(channel)) => channel,
            failed => {
                tracing::debug!(device = %device.short(), ?failed, "a device cannot be called");
                let dialled = call.not_opened(device);
                return self.dialled(dialled, scope);
            }
        };
        let (number, dialled) = match call.opened(now, device, ends, seed) {
            Ok(opened) => opened,
            Err(error) => return self.fail(CallOver::Failed, &error.to_string(), scope),
        };
        let dialog = number.and_then(|number| Some((number, call.call_id(number)?.to_owned())));
        let Some((leg, call)) = dialog else { return self.dialled(dialled, scope) };
        let (line, reader) = SipLine::open(channel);
        let ended = line.clone().ended();
        self.lines.insert(leg, line);
        scope.spawn_background(ended, move |call, (), scope| call.lost(leg, scope));
        // Whoever reads must know whose the answers are before there are any.
        let (told, opened) = (self.config.told.clone(), SessionTold::Opened { leg, device, call, reader });
        scope.spawn(async move { told.send(opened).await }, move |call, _, scope| {
            call.dialled(dialled, scope);
            call.arm(scope);
        });
    }

    /// The channel of a leg has ended.
    fn lost(&mut self, number: LegNumber, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        match &mut self.dialog {
            Some(Dialog::Placed(call)) => {
                let dialled = call.lost(now, number);
                self.dialled(dialled, scope);
            }
            Some(Dialog::Taken(leg)) => {
                let actions = leg.lost(now);
                self.act_all(actions, scope);
            }
            None => {}
        }
        self.arm(scope);
    }

    /// Somebody calls.
    pub(super) fn ring(&mut self, line: SipLine, request: &SipMessage, scope: &mut Scope<'_, Self>) {
        let mut seed = [0; 32];
        scope.environment().fill_random(&mut seed);
        let user = self.config.peer.to_hex();
        let rung = Leg::ring(scope.now(), self.ends(), seed, request, Some(&user));
        let ended = line.clone().ended();
        self.lines.insert(ONLY, line);
        match rung {
            Ok((leg, Some(offer), _, actions)) => {
                self.dialog = Some(Dialog::Taken(Box::new(leg)));
                self.offered = Some(Offered { offer, reply: None });
                scope.spawn_background(ended, |call, (), scope| call.lost(ONLY, scope));
                self.act_all(actions, scope);
                self.tell_change();
            }
            Ok((mut leg, None, _, actions)) => {
                // Devices always offer; whoever wants an offer is none.
                let refused = leg.refuse(scope.now(), Refusal::NotAgreed);
                self.dialog = Some(Dialog::Taken(Box::new(leg)));
                self.act_all(actions, scope);
                self.act_all(refused, scope);
            }
            Err(refused) => {
                self.failure = Some((CallOver::Failed, "what came makes no call".to_owned()));
                self.finish(CallEnd::Over(End::Refused), scope);
                match (refused.response, self.lines.get(&ONLY).cloned()) {
                    (Some(response), Some(line)) => {
                        let say = async move { line.send(response).await };
                        scope.spawn(say, |_, _, scope| scope.stop());
                    }
                    _ => scope.stop(),
                }
            }
        }
    }

    /// The owner answers.
    pub(super) fn answer_call(
        &mut self,
        sound: SoundChoice,
        reply: Reply<Result<(), CallError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        if let Err(error) = self.config.media.check(&sound) {
            return reply.send(Err(error.into()));
        }
        let waiting = self.stage == CallStage::Incoming && self.gathered.is_none();
        let Some(offered) = self.offered.as_mut().filter(|it| waiting && it.reply.is_none()) else {
            return reply.send(Err(CallError::WrongStage(self.stage)));
        };
        offered.reply = Some(reply);
        self.sound = sound;
        let offer = offered.offer.clone();
        self.streams.follow(&offer, true);
        self.gather_and_answer(scope);
    }

    /// Opens a new ICE session, and answers with it what is offered.
    fn gather_and_answer(&mut self, scope: &mut Scope<'_, Self>) {
        let (gather, number) = (self.config.paths.gather(PathRole::Answering), self.next_gather());
        scope.spawn_background(gather, move |call, gathered, scope| {
            if call.gathers(number) && !call.ended {
                call.gathered_to_answer(gathered, scope);
            }
            call.arm(scope);
        });
    }

    fn gathered_to_answer(
        &mut self,
        gathered: Result<Box<dyn GatheredPaths>, PathError>,
        scope: &mut Scope<'_, Self>,
    ) {
        match gathered {
            Ok(gathered) => {
                self.gathered = Some(gathered);
                self.new_key(scope);
                self.answer_offer(scope);
            }
            Err(error) => {
                if let Some(Offered { reply: Some(reply), .. }) = self.offered.take() {
                    reply.send(Err(error.clone().into()));
                }
                self.fail(CallOver::NoPath, &error.to_string(), scope);
            }
        }
    }

    /// Answers what is offered, with the session that was opened, or as sound is carried already.
    fn answer_offer(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(Offered { offer, reply }) = self.offered.take() else { return };
        let now = scope.now();
        let first = self.answered.is_none();
        // A session that we are about to offer is of no use for an answer to an offer without one.
        let to_offer = (!first && offer.ice.is_none()).then(|| self.gathered.take()).flatten();
        let described = self.our_answer(&offer);
        self.gathered = to_offer.or(self.gathered.take());
        let described = match described {
            Ok(described) => described,
            Err(error) => {
                if let Some(reply) = reply {
                    reply.send(Err(CallError::Path(PathError::NoRemoteAddress)));
                }
                tracing::info!(call = %self.config.id, %error, "an offer cannot be answered");
                self.refuse_offer(Refusal::NotAgreed, scope);
                // The session that was opened for it serves nothing now.
                return self.not_renewed(scope);
            }
        };
        let said = self.speak(scope, |leg| leg.answer(now, &described));
        let worked = said.is_ok();
        if let Some(reply) = reply {
            reply.send(said);
        }
        if !worked {
            return;
        }
        self.ours = Some(described);
        if first {
            self.answered = Some(now);
            self.reach(CallStage::Connecting);
        }
        self.agree(&offer, false, scope);
        // One of ours that had to wait for theirs, and that theirs did not make needless.
        if self.gathered.is_some()
            && !self.ended
            && let Err(error) = self.offer_again(scope)
        {
            self.fail(CallOver::Failed, &error.to_string(), scope);
        }
    }

    /// Offers what has changed while another offer was under way.
    fn offer_what_waits(&mut self, scope: &mut Scope<'_, Self>) {
        if std::mem::take(&mut self.offer_later)
            && !self.ended
            && let Err(error) = self.offer_again(scope)
        {
            self.fail(CallOver::Failed, &error.to_string(), scope);
        }
    }

    fn refuse_offer(&mut self, refusal: Refusal, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        let number = match &mut self.dialog {
            Some(Dialog::Placed(call)) => call.winner().map(|(number, _)| number),
            _ => Some(ONLY),
        };
        let refused = self.leg().map(|leg| leg.refuse(now, refusal));
        self.follow(number.unwrap_or(ONLY), refused.unwrap_or_default(), scope);
    }

    /// Uses the leg that counts, and does what comes of it.
    pub(super) fn speak(
        &mut self,
        scope: &mut Scope<'_, Self>,
        say: impl FnOnce(&mut Leg) -> Result<Vec<Action>, skep_protocol::call::LegError>,
    ) -> Result<(), CallError> {
        let stage = self.stage;
        let now = scope.now();
        match self.dialog.as_mut().ok_or(CallError::WrongStage(stage))? {
            Dialog::Placed(call) => {
                let (number, leg) = call.winner().ok_or(CallError::WrongStage(stage))?;
                let actions = say(leg)?;
                let dialled = call.follow(now, number, actions);
                self.dialled(dialled, scope);
            }
            Dialog::Taken(leg) => {
                let actions = say(leg)?;
                self.act_all(actions, scope);
            }
        }
        Ok(())
    }

    /// Offers what our streams are now.
    pub(super) fn offer_again(&mut self, scope: &mut Scope<'_, Self>) -> Result<(), CallError> {
        if self.leg().is_some_and(|leg| leg.is_offering()) {
            self.offer_later = true;
            return Ok(());
        }
        let Some(offer) = self.our_offer() else { return Err(CallError::WrongStage(self.stage)) };
        let now = scope.now();
        self.speak(scope, |leg| leg.offer(now, Some(&offer)))?;
        self.ours = Some(offer);
        Ok(())
    }

    fn origin(&mut self) -> Option<(Origin, std::net::IpAddr)> {
        let address = match &self.gathered {
            Some(gathered) => gathered.address(),
            None => self.ours.as_ref()?.address?,
        };
        // The first answer has the version 1.
        let answers = self.ours.is_none() && matches!(self.dialog, Some(Dialog::Taken(_)));
        self.version += u64::from(answers);
        let origin = Origin::at("skep", self.began, self.version, address);
        self.version += 1;
        Some((origin, address))
    }

    fn our_offer(&mut self) -> Option<Description> {
        let (origin, address) = self.origin()?;
        let ice = self.gathered.as_ref().map(|gathered| gathered.credentials());
        let name = format!("Call ID {}", self.config.id);
        Some(offer(origin, &name, ice, address, &self.local_media()))
    }

    fn our_answer(&mut self, theirs: &Description) -> Result<Description, NotAgreed> {
        let (origin, address) = self.origin().ok_or(NotAgreed::NoIce)?;
        let ice = self.gathered.as_ref().map(|gathered| gathered.credentials());
        let name = format!("Call ID {}", self.config.id);
        answer(theirs, origin, &name, ice, address, &self.local_media())
    }

    /// Our streams; of pictures there are none, so lines for them are refused.
    fn local_media(&self) -> Vec<LocalMedia> {
        let candidates = self.gathered.as_ref().map(|it| it.candidates()).unwrap_or_default();
        let ports = |index: usize| {
            let of = |component| candidates.iter().find(|(it, _)| *it == component).map(|(_, it)| it.port);
            let before = self.ours.as_ref().and_then(|ours| ours.media.get(index));
            let rtp = of(skep_protocol::sdp::Component::Rtp).or(before.map(|it| it.port));
            let rtcp = of(skep_protocol::sdp::Component::Rtcp)
                .or(before.and_then(|it| it.rtcp).map(|(port, _)| port));
            (rtp.unwrap_or(DISCARD), rtcp.unwrap_or(DISCARD))
        };
        let streams = self.streams.described(&Codec::USUAL_AUDIO, &[]);
        let describe = |(index, stream)| {
            let (port, rtcp_port) = ports(index);
            LocalMedia { stream, port, rtcp_port, key: self.key.clone(), candidates: candidates.clone() }
        };
        streams.into_iter().enumerate().map(describe).collect()
    }

    pub(super) fn received(&mut self, number: LegNumber, message: &SipMessage, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        match &mut self.dialog {
            Some(Dialog::Placed(call)) if call.is_for(number, message) => {
                let dialled = call.received(now, number, message);
                self.dialled(dialled, scope);
            }
            Some(Dialog::Taken(leg)) if leg.is_for(message) => {
                let actions = leg.received(now, message);
                self.act_all(actions, scope);
            }
            _ => {}
        }
    }

    pub(super) fn dialled(&mut self, dialled: Vec<Dialled>, scope: &mut Scope<'_, Self>) {
        for dialled in dialled {
            match dialled {
                Dialled::Open(device) => self.open(device, scope),
                Dialled::Leg(number, action) => self.act(number, action, scope),
                Dialled::Connection(Connection::Ringing) => self.reach(CallStage::Ringing),
                Dialled::Connection(_) => {}
                Dialled::Won(number, ..) => {
                    if let Some(line) = self.lines.get(&number) {
                        self.tell(SessionTold::Won(line.device));
                    }
                    self.answered = Some(scope.now());
                    self.reach(CallStage::Connecting);
                }
                Dialled::Ended(end) => self.finish(end, scope),
                Dialled::Done => self.done(scope),
            }
        }
    }

    pub(super) fn act_all(&mut self, actions: Vec<Action>, scope: &mut Scope<'_, Self>) {
        for action in actions {
            self.act(ONLY, action, scope);
        }
    }

    fn act(&mut self, number: LegNumber, action: Action, scope: &mut Scope<'_, Self>) {
        match action {
            Action::Send(bytes) => self.send(number, bytes, scope),
            Action::Answered(Some(theirs)) => {
                self.agree(&theirs, true, scope);
                self.tell_muted(scope);
            }
            Action::Answered(None) => self.fail(CallOver::Failed, "the answer describes no sound", scope),
            Action::Acknowledged(_) => self.tell_muted(scope),
            Action::OfferAnswered(theirs) => {
                self.agree(&theirs, true, scope);
                self.offer_what_waits(scope);
            }
            // What it was about has changed meanwhile.
            Action::OfferRefused(_) if self.offer_later => self.offer_what_waits(scope),
            Action::OfferRefused(status) => {
                tracing::info!(call = %self.config.id, status, "a change of the sound was refused");
                if self.stage == CallStage::Connecting {
                    self.fail(CallOver::Failed, "the other device did not let the call go on", scope);
                }
                self.not_renewed(scope);
            }
            Action::Offered(Some(offer)) => self.offered(offer, scope),
            Action::Offered(None) => self.refuse_offer(Refusal::NotAgreed, scope),
            Action::Control(Control::Muted(muted)) => {
                self.peer_muted = muted;
                self.tell_change();
                self.tell(SessionTold::Said(Said::Control(Control::Muted(muted))));
            }
            Action::Control(control) => self.tell(SessionTold::Said(Said::Control(control))),
            Action::Message(parts) => self.tell(SessionTold::Said(Said::Message(parts))),
            Action::Ended(end) => self.finish(CallEnd::Over(end), scope),
            Action::Done => self.done(scope),
            // Of pictures, keys and transfers nothing is made yet.
            other => tracing::debug!(call = %self.config.id, ?other, "something in a call is passed over"),
        }
    }

    /// What came of a leg that was used: what it wants done.
    fn follow(&mut self, number: LegNumber, actions: Vec<Action>, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        match &mut self.dialog {
            Some(Dialog::Placed(call)) => {
                let dialled = call.follow(now, number, actions);
                self.dialled(dialled, scope);
            }
            _ => self.act_all(actions, scope),
        }
    }

    /// Says something that is not of this call alone.
    pub(super) fn say(&mut self, said: Said, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        let spoken = match said {
            Said::Message(parts) => self.speak(scope, |leg| leg.message(now, parts)),
            Said::Control(control) => self.speak(scope, |leg| leg.control(now, control)),
        };
        if let Err(error) = spoken {
            tracing::debug!(call = %self.config.id, %error, "something was not said in a call");
        }
    }

    /// Who muted before the call was answered says so now.
    fn tell_muted(&mut self, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        if self.streams.all().first().is_some_and(|stream| stream.muted)
            && let Err(error) = self.speak(scope, |leg| leg.control(now, Control::Muted(true)))
        {
            tracing::debug!(%error, "the other side does not know that we are muted");
        }
    }

    /// The other side changes the streams. What it adds is refused.
    fn offered(&mut self, offer: Description, scope: &mut Scope<'_, Self>) {
        let (now, new_session) = (scope.now(), offer.ice.is_some());
        if new_session && !self.renewals.get_or_insert(Renewals::new(now)).take(now) {
            tracing::info!(call = %self.config.id, "offers of new ways for the sound come too fast");
            return self.refuse_offer(Refusal::TooOften, scope);
        }
        // Of ours, one that waits because the two met would come too late: the answer says how we are. Only a
        // new way that they do not bring is still to be offered, as it will be then.
        self.offer_later = false;
        if let Some(leg) = self.leg() {
            leg.withdraw_offer();
        }
        if new_session {
            self.gathered = None;
        }
        if self.streams.judge(&offer) == Taken::Ask {
            tracing::info!(call = %self.config.id, "a stream that is not of sound is refused");
        }
        self.streams.follow(&offer, true);
        self.offered = Some(Offered { offer, reply: None });
        if new_session { self.gather_and_answer(scope) } else { self.answer_offer(scope) }
    }

    fn send(&self, number: LegNumber, bytes: Bytes, scope: &mut Scope<'_, Self>) {
        let Some(line) = self.lines.get(&number).cloned() else { return };
        // A line that is gone is noticed by who reads it.
        // Whoever does not read what is said is not read either.
        let heard = self.heard.clone();
        let send = async move {
            let _heard = heard;
            tokio::time::timeout(SENDING, line.send(bytes)).await
        };
        scope.spawn(send, |_, _, _| ());
    }

    fn done(&mut self, scope: &mut Scope<'_, Self>) {
        self.finish(CallEnd::Over(End::Gone), scope);
        scope.stop();
    }
}
