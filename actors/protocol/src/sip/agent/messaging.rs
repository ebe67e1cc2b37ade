//! Messages out and in (RFC 3428), and what else others ask.

use std::net::SocketAddr;

use bytes::Bytes;
use ezk_sip_types::{Method, Name};

use super::super::address::SipAddress;
use super::super::digest::Challenge;
use super::super::fields::{display_name, parameter};
use super::super::response::response;
use super::super::stream::SipMessage;
use super::client::{ClientTransaction, Purpose};
use super::credentials::Credentials;
use super::registering::Standing;
use super::server::MAX_ANSWER;
use super::{Action, Dialog, Draft, SipAgent, SipProblem, Transport, reason};
use crate::time::Moment;

/// Longest text, in bytes, sent or taken.
pub const MAX_TEXT: usize = 16 * 1024;

/// Longest message, in bytes, with its head, that is sent over UDP (RFC 3428, 8): what is longer may be
/// cut up on the way, and lost.
pub const MAX_DATAGRAM: usize = 1300;

/// Messages on their way at once.
pub const MAX_OUTGOING: usize = 64;

/// Most bytes of a challenge that are repeated in a message over UDP: realm, nonce and opaque value together.
/// Those of servers have less than two hundred; with more, no text would fit beside the answer.
const MAX_REPEATED: usize = 400;

/// Longest name of a sender, in letters.
const MAX_NAME: usize = 128;

/// The only kind of message sent and taken.
const TEXT: &str = "text/plain";

/// What others may do, and send.
const ABILITIES: &str = "Allow: MESSAGE, OPTIONS\r\nAccept: text/plain\r\n";

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Who sent it, as they and the server say.
    pub from: SipAddress,
    /// Their name, as they say; empty if they do not.
    pub name: String,
    /// What they say.
    pub text: String,
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: u64,
    to: SipAddress,
    text: String,
    dialog: Dialog,
    /// The challenges that were put to this message. Whom it is for can put them, too, so that others do not
    /// get their answers.
    pub(super) challenges: Credentials,
}

/// Why a message was not sent, or not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// The account is not registered.
    #[error("the account is not registered at its server")]
    NotRegistered,
    /// Longer than [`MAX_TEXT`].
    #[error("the text has {0} bytes; at most {MAX_TEXT} can be sent")]
    TooLong(usize),
    /// Longer than [`MAX_DATAGRAM`], over UDP.
    #[error("over UDP a message has at most {MAX_DATAGRAM} bytes, this one {0}; use TCP or TLS")]
    TooLongForUdp(usize),
    /// A `sips` address, and the path is not under TLS.
    #[error("a sips address can be written to over TLS only")]
    Insecure,
    /// [`MAX_OUTGOING`] are on their way.
    #[error("{MAX_OUTGOING} messages are on their way; wait until one has arrived")]
    Busy,
    /// Nobody has answered.
    #[error("the server did not answer; whether the message has arrived is unknown")]
    Silent,
    /// The connection has ended.
    #[error("the connection to the server was lost; whether the message has arrived is unknown")]
    PathLost,
    /// The server wants a login that does not work.
    #[error("{0}")]
    Login(SipProblem),
    /// The server, or who it was for, said no.
    #[error("it was refused: {status} {reason}")]
    Refused {
        /// The status.
        status: u16,
        /// What was said about it.
        reason: String,
    },
}

impl SipAgent {
    /// Sends a text; [`Action::Sent`] tells what became of it, under this number.
    #[must_use]
    pub fn send(&mut self, now: Moment, id: u64, to: &SipAddress, text: &str) -> Vec<Action> {
        let under_way = self.transactions.values().filter(|it| matches!(it.purpose, Purpose::Message(_)));
        let failure = if !matches!(self.standing, Standing::Registered { .. }) {
            Some(SendFailure::NotRegistered)
        } else if text.len() > MAX_TEXT {
            Some(SendFailure::TooLong(text.len()))
        } else if to.is_secure() && self.identity.transport != Transport::Tls {
            Some(SendFailure::Insecure)
        } else if under_way.count() >= MAX_OUTGOING {
            Some(SendFailure::Busy)
        } else {
            None
        };
        if let Some(failure) = failure {
            self.sent(id, Err(failure));
        } else {
            let dialog = Dialog::new(&mut self.tokens);
            let (to, text, challenges) = (to.clone(), text.to_owned(), Credentials::default());
            self.send_message(now, Outgoing { id, to, text, dialog, challenges }, Vec::new());
        }
        self.take_actions()
    }

    pub(super) fn sent(&mut self, id: u64, result: Result<(), SendFailure>) {
        self.actions.push(Action::Sent { id, result });
    }

    fn send_message(&mut self, now: Moment, mut message: Outgoing, answered: Vec<(bool, String)>) {
        message.dialog.sequence += 1;
        let (id, text, to) = (message.id, message.text.clone(), message.to.to_string());
        let Dialog { call, tag, sequence } = &message.dialog;
        let dialog = Dialog { call: call.clone(), tag: tag.clone(), sequence: *sequence };
        let more = "Content-Type: text/plain;charset=UTF-8\r\n";
        let draft = Draft { method: "MESSAGE", uri: &to, to: &to, dialog: &dialog, more, body: &text };
        let sent = self.begin(now, &draft, Purpose::Message(message), answered).map(|bytes| bytes.len());
        let failure = match sent {
            None => Some(SendFailure::PathLost),
            Some(length) if self.identity.transport == Transport::Udp && length > MAX_DATAGRAM => {
                // It was written to know its length.
                self.actions.pop();
                let is_it = |purpose: &Purpose| matches!(purpose, Purpose::Message(it) if it.id == id);
                let begun = self.transactions.extract_if(.., |_, it| is_it(&it.purpose)).next();
                // Without the answers to challenges of before it may fit; the server asks again if it must.
                if let Some((_, ClientTransaction { purpose: Purpose::Message(message), answered, .. })) =
                    begun.filter(|_| !self.for_messages.is_empty())
                {
                    self.for_messages = Credentials::default();
                    return self.send_message(now, message, answered);
                }
                Some(SendFailure::TooLongForUdp(length))
            }
            Some(_) => None,
        };
        if let Some(failure) = failure {
            self.sent(id, Err(failure));
        }
    }

    /// The final response to a message.
    pub(super) fn message_answered(
        &mut self,
        now: Moment,
        mut message: Outgoing,
        status: u16,
        response: &SipMessage,
        mut answered: Vec<(bool, String)>,
    ) {
        match status {
            200..300 => {
                // Answered before they are put again only if it is our own server that puts them.
                self.for_messages.adopt(message.challenges, &self.for_register);
                self.sent(message.id, Ok(()));
            }
            401 | 407 => {
                // Whom we write to can put challenges, too, as a proxy or with the realm of our server, and
                // cannot be told from it. So they get no more than our server does: nothing weaker than what
                // answers it, and for other realms, which only proxies may have, a text of ours is in the
                // hash. A password that is easily guessed can be guessed from that still.
                let (proxy, known) = (status == 407, &self.for_register);
                let is_udp = self.identity.transport == Transport::Udp;
                let is_allowed = |asked: &Challenge| {
                    let fits = !is_udp || asked.repeated_length() <= MAX_REPEATED;
                    let trusted = known.knows(&asked.realm) || (proxy && asked.has_qop());
                    fits && trusted && !known.forbids(asked)
                };
                match message.challenges.challenged(response, proxy, &mut answered, is_allowed) {
                    Ok(()) => self.send_message(now, message, answered),
                    Err(problem) => self.sent(message.id, Err(SendFailure::Login(problem))),
                }
            }
            _ => self.sent(message.id, Err(SendFailure::Refused { status, reason: reason(response) })),
        }
    }

    /// A request of somebody.
    pub(super) fn request(&mut self, now: Moment, method: &Method, request: &SipMessage, remote: SocketAddr) {
        let tag = self.tokens.text();
        let answer = |status: &str, more: &str| {
            let bytes = response(request, status, &tag, remote, more)?;
            // Headers that long are nobody's: there is no answer that would not be as long.
            (bytes.len() <= MAX_ANSWER).then(|| Bytes::from(bytes))
        };
        let answered = if request.headers.contains(&Name::REQUIRE) {
            answer("420 Bad Extension", "")
        } else if *method == Method::MESSAGE {
            let Some(taken) = answer("200 OK", "") else { return };
            match self.message_arrived(now, request, taken) {
                Ok(answer) => Some(answer),
                Err((status, more)) => answer(status, more),
            }
        } else if *method == Method::OPTIONS {
            answer("200 OK", ABILITIES)
        } else if *method == Method::BYE || *method == Method::CANCEL {
            answer("481 Call/Transaction Does Not Exist", "")
        } else {
            answer("405 Method Not Allowed", ABILITIES)
        };
        self.actions.extend(answered.map(Action::Send));
    }

    /// Takes a message, or says why not; returns its answer.
    fn message_arrived(
        &mut self,
        now: Moment,
        request: &SipMessage,
        taken: Bytes,
    ) -> Result<Bytes, (&'static str, &'static str)> {
        let via = request.header(&Name::VIA).unwrap_or_default();
        let header = |name| request.header(&name).unwrap_or_default();
        let (sender, sequence) = (header(Name::FROM), header(Name::CSEQ));
        let sent_by = via.split(';').next().unwrap_or_default();
        let transaction = format!("{}\n{sent_by}", parameter(via, "branch").unwrap_or(sequence));
        let sender_tag = parameter(sender, "tag").unwrap_or_default();
        let id = format!("{}\n{sender_tag}\n{sequence}", header(Name::CALL_ID));
        if let Some(answer) = self.served.repeated(now, &transaction) {
            return Ok(answer);
        }
        if self.served.has_request(&id) {
            return Ok(taken);
        }
        if parameter(header(Name::TO), "tag").is_some() {
            return Err(("481 Call/Transaction Does Not Exist", ""));
        }
        let content_type = header(Name::CONTENT_TYPE);
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let charset = parameter(content_type, "charset").unwrap_or("utf-8").trim_matches('"');
        let readable = ["utf-8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known));
        if !kind.eq_ignore_ascii_case(TEXT) || !readable {
            return Err(("415 Unsupported Media Type", ABILITIES));
        }
        if request.body.len() > MAX_TEXT {
            return Err(("413 Request Entity Too Large", ""));
        }
        let text = std::str::from_utf8(&request.body).map_err(|_| ("400 Bad Request", ""))?;
        let from = SipAddress::in_header(sender).ok_or(("400 Bad Request", ""))?;
        if !self.served.admit(now) {
            return Err(("480 Temporarily Unavailable", "Retry-After: 10\r\n"));
        }
        let name =
            display_name(sender).chars().filter(|letter| !letter.is_control()).take(MAX_NAME).collect();
        self.served.remember(now, transaction, id, taken.clone());
        self.actions.push(Action::Arrived(Arrived { from, name, text: text.to_owned() }));
        Ok(taken)
    }
}
