//! Which connections exist to which device, and which channels wait for one (`spec: connection 2.5,
//! 7.5, 7.6`).
//!
//! ```text
//!   connect() --- a socket is up -----------------------> request the channel on it
//!       |                                                        | socket dies before the answer:
//!       +-- none: wait; start an attempt unless one runs         |  once more, then fail
//!                  | ready: request all that wait  <-------------+
//!                  | the last attempt failed: fail all that wait
//! ```
//!
//! A connection has one number from the start of its attempt to the end of its socket. Nothing here
//! counts time: attempts and sockets do that themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::attempt::AttemptError;
use super::mux::socket::SIP_REQUEST_TIMEOUT;
use super::request::RequestId;
use crate::ids::DeviceId;

/// Most channels that wait for a connection to one device, or for its answer.
pub const MAX_WAITING: usize = 1024;
/// Most connections to one device, attempts and sockets together.
pub const MAX_CONNECTIONS_PER_DEVICE: usize = 8;
/// Most sockets to one device; beyond that the oldest is shut down. Two is what simultaneous dialling
/// leaves; a device that comes with another again and again has lost the ones before, or abandons
/// them. Less than [`MAX_CONNECTIONS_PER_DEVICE`], so that sockets never keep a new attempt out.
pub const MAX_SOCKETS_PER_DEVICE: usize = 4;
/// Most connections in all that are still attempts of others: each holds sockets and an ICE agent.
pub const MAX_INCOMING_ATTEMPTS: usize = 256;

/// Name of a channel whose answer is due within [`SIP_REQUEST_TIMEOUT`].
const SIP: &str = "sip";

/// A connection, from the start of its attempt to the end of its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionNumber(pub u64);

/// A wish for a channel, numbered by whoever wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Why a channel could not be requested, or got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The device is this one.
    #[error("a device cannot connect to itself")]
    OwnDevice,
    /// Too many channels wait for this device.
    #[error("more than {MAX_WAITING} channels wait for the device; try again later")]
    TooManyWaiting,
    /// The last running attempt failed.
    #[error("no connection to the device: {0}")]
    Attempt(#[from] AttemptError),
    /// Two sockets died before the peer answered.
    #[error("the connection broke twice before the device answered; try again later")]
    SocketLost,
    /// All connections to the device were given up.
    #[error("connections to the device were given up, because its contact was removed")]
    Removed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Start an attempt to reach the device.
    StartAttempt {
        /// Number of the new connection.
        connection: ConnectionNumber,
        /// Whom to reach.
        device: DeviceId,
        /// For push notifications; from the channel that caused the attempt.
        connection_type: String,
    },
    /// Request a channel on a socket; tell [`Dialer::channel_answered`] when the peer has answered.
    OpenChannel {
        /// The socket.
        connection: ConnectionNumber,
        /// Who wants the channel.
        ticket: Ticket,
        /// Its name.
        name: String,
        /// How long the answer may take before the whole socket is shut down; else the channel
        /// alone is given up when whoever wants it does not wait any more.
        answer_within: Option<Duration>,
    },
    /// The wish cannot be fulfilled.
    Failed {
        /// Whose wish.
        ticket: Ticket,
        /// Why.
        error: DialError,
    },
    /// Send a beacon, to see whether the socket still lives.
    Beacon(ConnectionNumber),
    /// The first socket to this device is up: open the channels every pair of devices has.
    FirstSocket {
        /// The device.
        device: DeviceId,
        /// The socket.
        connection: ConnectionNumber,
    },
    /// Give up the attempt or shut down the socket.
    Drop(ConnectionNumber),
}

/// A channel that someone wants.
#[derive(Clone, Debug)]
struct Wish {
    ticket: Ticket,
    name: String,
    connection_type: String,
    /// Whether a socket has already died under it.
    retried: bool,
}

/// All that concerns one device.
#[derive(Debug, Default)]
struct Peer {
    attempts: BTreeSet<ConnectionNumber>,
    /// Smallest request id first: new channels go to the first.
    sockets: BTreeSet<(RequestId, ConnectionNumber)>,
    /// Wishes without a socket, oldest first.
    waiting: VecDeque<Wish>,
    /// Wishes the peer was told of and has not answered, oldest first.
    asked: VecDeque<(ConnectionNumber, Wish)>,
}

impl Peer {
    fn is_empty(&self) -> bool {
        self.attempts.is_empty()
            && self.sockets.is_empty()
            && self.waiting.is_empty()
            && self.asked.is_empty()
    }

    fn connection_count(&self) -> usize {
        self.attempts.len() + self.sockets.len()
    }

    fn best_socket(&self) -> Option<ConnectionNumber> {
        self.sockets.first().map(|(_, connection)| *connection)
    }

    /// The oldest socket, if there is one too many.
    fn surplus_socket(&self) -> Option<ConnectionNumber> {
        let oldest = self.sockets.iter().map(|(_, connection)| *connection).min();
        oldest.filter(|_| self.sockets.len() > MAX_SOCKETS_PER_DEVICE)
    }

    fn ask(&mut self, connection: ConnectionNumber, wish: Wish) -> Output {
        let output = Output::OpenChannel {
            connection,
            ticket: wish.ticket,
            name: wish.name.clone(),
            answer_within: (wish.name == SIP).then_some(SIP_REQUEST_TIMEOUT),
        };
        self.asked.push_back((connection, wish));
        output
    }

    /// Takes the unanswered wishes of one socket, in order.
    fn take_asked(&mut self, connection: ConnectionNumber) -> Vec<Wish> {
        let (taken, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.asked).into_iter().partition(|(socket, _)| *socket == connection);
        self.asked = kept.into();
        taken.into_iter().map(|(_, wish)| wish).collect()
    }
}

/// The connections of one device of ours.
#[derive(Debug)]
pub struct Dialer {
    own: DeviceId,
    peers: BTreeMap<DeviceId, Peer>,
    /// Whose each connection is.
    devices: BTreeMap<ConnectionNumber, DeviceId>,
    /// Attempts of others.
    incoming: BTreeSet<ConnectionNumber>,
    next_number: u64,
    outputs: VecDeque<Output>,
}

impl Dialer {
    /// A dialler for the device `own`, without connections.
    #[must_use]
    pub const fn new(own: DeviceId) -> Self {
        Self {
            own,
            peers: BTreeMap::new(),
            devices: BTreeMap::new(),
            incoming: BTreeSet::new(),
            next_number: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do; to be drained after every other call.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Wants a channel to `device`, on any socket.
    pub fn connect(&mut self, ticket: Ticket, device: DeviceId, name: String, connection_type: String) {
        let wish = Wish { ticket, name, connection_type, retried: false };
        if let Some(wish) = self.admit(device, wish) {
            self.place(device, wish);
        }
    }

    /// The wish is withdrawn, or its channel no longer needed before it is answered.
    pub fn withdraw(&mut self, device: DeviceId, ticket: Ticket) {
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.waiting.retain(|wish| wish.ticket != ticket);
            peer.asked.retain(|(_, wish)| wish.ticket != ticket);
            self.forget_if_empty(device);
        }
    }

    /// The peer has accepted or declined the channel: it is settled and will not be retried.
    pub fn channel_answered(&mut self, device: DeviceId, ticket: Ticket) {
        self.withdraw(device, ticket);
    }

    /// `device` wants to connect; `None` when it, or everyone together, tries too often.
    pub fn incoming_attempt(&mut self, device: DeviceId) -> Option<ConnectionNumber> {
        if device == self.own || self.incoming.len() >= MAX_INCOMING_ATTEMPTS {
            return None;
        }
        let connection = self.new_connection(device)?;
        self.incoming.insert(connection);
        Some(connection)
    }

    /// An attempt has succeeded; `id` is that of its request.
    pub fn attempt_ready(&mut self, connection: ConnectionNumber, id: RequestId) {
        let Some(device) = self.end_attempt(connection) else { return };
        let Some(peer) = self.peers.get_mut(&device) else { return };
        if peer.sockets.is_empty() {
            self.outputs.push_back(Output::FirstSocket { device, connection });
        }
        self.outputs.extend(peer.sockets.iter().map(|(_, older)| Output::Beacon(*older)));
        peer.sockets.insert((id, connection));
        let surplus = peer.surplus_socket();
        let socket = peer.best_socket().unwrap_or(connection);
        for wish in std::mem::take(&mut peer.waiting) {
            let output = peer.ask(socket, wish);
            self.outputs.push_back(output);
        }
        if let Some(oldest) = surplus {
            self.outputs.push_back(Output::Drop(oldest));
            self.socket_ended(oldest);
        }
    }

    /// An attempt has failed.
    pub fn attempt_failed(&mut self, connection: ConnectionNumber, error: &AttemptError) {
        let Some(device) = self.end_attempt(connection) else { return };
        self.devices.remove(&connection);
        let Some(peer) = self.peers.get_mut(&device) else { return };
        if peer.attempts.is_empty() && peer.sockets.is_empty() {
            for wish in std::mem::take(&mut peer.waiting) {
                self.fail(&wish, error.clone().into());
            }
        }
        self.forget_if_empty(device);
    }

    /// A socket has ended. Channels it had not yet been answered for are requested once more.
    pub fn socket_ended(&mut self, connection: ConnectionNumber) {
        let Some(device) = self.devices.remove(&connection) else { return };
        let Some(peer) = self.peers.get_mut(&device) else { return };
        peer.sockets.retain(|(_, socket)| *socket != connection);
        for wish in peer.take_asked(connection) {
            if wish.retried {
                self.fail(&wish, DialError::SocketLost);
            } else {
                self.place(device, Wish { retried: true, ..wish });
            }
        }
        self.forget_if_empty(device);
    }

    /// The local network has changed: every socket has to prove itself.
    pub fn network_changed(&mut self) {
        let sockets = self.peers.values().flat_map(|peer| &peer.sockets);
        self.outputs.extend(sockets.map(|(_, connection)| Output::Beacon(*connection)));
    }

    /// The contact is gone: drops all connections to `device` and fails what waits for it.
    pub fn remove(&mut self, device: DeviceId) {
        let Some(peer) = self.peers.remove(&device) else { return };
        let connections = peer.attempts.into_iter().chain(peer.sockets.into_iter().map(|(_, it)| it));
        for connection in connections {
            self.devices.remove(&connection);
            self.incoming.remove(&connection);
            self.outputs.push_back(Output::Drop(connection));
        }
        for wish in peer.waiting.into_iter().chain(peer.asked.into_iter().map(|(_, wish)| wish)) {
            self.fail(&wish, DialError::Removed);
        }
    }

    /// Whether a socket to `device` is up.
    #[must_use]
    pub fn is_connected(&self, device: DeviceId) -> bool {
        self.peers.get(&device).is_some_and(|peer| !peer.sockets.is_empty())
    }

    /// Fails a wish that cannot be taken on.
    fn admit(&mut self, device: DeviceId, wish: Wish) -> Option<Wish> {
        let pending = self.peers.get(&device).map_or(0, |peer| peer.waiting.len() + peer.asked.len());
        let error = if device == self.own {
            DialError::OwnDevice
        } else if pending >= MAX_WAITING {
            DialError::TooManyWaiting
        } else {
            return Some(wish);
        };
        self.fail(&wish, error);
        None
    }

    /// Requests the channel on the best socket, or lets it wait for one.
    fn place(&mut self, device: DeviceId, wish: Wish) {
        let peer = self.peers.entry(device).or_default();
        if let Some(socket) = peer.best_socket() {
            let output = peer.ask(socket, wish);
            self.outputs.push_back(output);
            return;
        }
        let connection_type = wish.connection_type.clone();
        peer.waiting.push_back(wish);
        let dialling = peer.attempts.iter().any(|attempt| !self.incoming.contains(attempt));
        if !dialling {
            self.start_attempt(device, connection_type);
        }
    }

    /// Without room for another, what waits gets the attempts of the device itself.
    fn start_attempt(&mut self, device: DeviceId, connection_type: String) {
        let Some(connection) = self.new_connection(device) else { return };
        self.outputs.push_back(Output::StartAttempt { connection, device, connection_type });
    }

    fn new_connection(&mut self, device: DeviceId) -> Option<ConnectionNumber> {
        let peer = self.peers.entry(device).or_default();
        if peer.connection_count() >= MAX_CONNECTIONS_PER_DEVICE {
            return None;
        }
        let connection = ConnectionNumber(self.next_number);
        self.next_number += 1;
        peer.attempts.insert(connection);
        self.devices.insert(connection, device);
        Some(connection)
    }

    /// Whose attempt this was, if it still ran.
    fn end_attempt(&mut self, connection: ConnectionNumber) -> Option<DeviceId> {
        self.incoming.remove(&connection);
        let device = *self.devices.get(&connection)?;
        self.peers.get_mut(&device)?.attempts.remove(&connection).then_some(device)
    }

    fn fail(&mut self, wish: &Wish, error: DialError) {
        self.outputs.push_back(Output::Failed { ticket: wish.ticket, error });
    }

    fn forget_if_empty(&mut self, device: DeviceId) {
        if self.peers.get(&device).is_some_and(Peer::is_empty) {
            self.peers.remove(&device);
        }
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
