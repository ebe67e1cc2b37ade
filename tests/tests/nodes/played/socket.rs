//! The multiplexed socket of a played peer: a test takes and opens channels, and says and hears what it
//! likes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use skep_protocol::link::mux::{ChannelNumber, Limits, Multiplex, Output, Patience, Role};
use skep_protocol::time::Moment;
use skep_tests::harness::PATIENCE;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

/// See the module.
pub(super) struct Socket {
    state: RefCell<State>,
    /// Something was heard.
    heard: Notify,
    /// There is something to be sent.
    to_send: Notify,
}

struct State {
    multiplex: Multiplex,
    /// Channels that the node asks for.
    asked: Vec<(ChannelNumber, String)>,
    /// Whether the channels that we ask for are granted.
    granted: HashMap<ChannelNumber, bool>,
    /// What came over each channel and was not taken yet.
    heard: HashMap<ChannelNumber, Vec<u8>>,
}

impl Socket {
    pub(super) fn new() -> Rc<Self> {
        let multiplex = Multiplex::new(Role::Responder, Limits::default());
        let (asked, granted, heard) = (Vec::new(), HashMap::new(), HashMap::new());
        let state = State { multiplex, asked, granted, heard };
        Rc::new(Self { state: RefCell::new(state), heard: Notify::new(), to_send: Notify::new() })
    }

    /// Moves bytes until the node ends the connection. Channels whose names `declined` knows are
    /// declined.
    pub(super) async fn run<S>(&self, mut stream: S, declined: impl Fn(&str) -> bool)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let bytes = self.act(&declined);
            if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(length) => self.state.borrow_mut().multiplex.input_bytes(&buffer[..length]),
                },
                () = self.to_send.notified() => {}
            }
        }
    }

    /// Does what the socket wants; the bytes to be sent.
    fn act(&self, declined: &impl Fn(&str) -> bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut state = self.state.borrow_mut();
        while let Some(output) = state.multiplex.poll() {
            match output {
                Output::Transmit(more) => bytes.extend(more),
                Output::ChannelRequested { number, name } if declined(&name) => {
                    state.multiplex.decline(number).unwrap();
                }
                Output::ChannelRequested { number, name } => {
                    if !waits(&name) {
                        state.multiplex.accept(number).unwrap();
                    }
                    state.asked.push((number, name));
                }
                Output::Opened(number) => drop(state.granted.insert(number, true)),
                Output::Declined(number) => drop(state.granted.insert(number, false)),
                Output::Data { number, bytes } => state.heard.entry(number).or_default().extend(bytes),
                _ => {}
            }
        }
        drop(state);
        self.heard.notify_waiters();
        bytes
    }

    async fn wait<T>(&self, expected: &str, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let found = async {
            loop {
                let heard = self.heard.notified();
                if let Some(found) = look(&mut self.state.borrow_mut()) {
                    return found;
                }
                heard.await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("expected {expected}"))
    }

    /// The channel with this name that the node asks for.
    pub(super) async fn asked(self: &Rc<Self>, wanted: &str) -> Channel {
        let expected = format!("a request for {wanted}");
        let take = |state: &mut State| {
            let place = state.asked.iter().position(|(_, name)| name == wanted)?;
            let (number, _) = state.asked.remove(place);
            if waits(wanted) {
                state.multiplex.accept(number).unwrap();
            }
            Some(number)
        };
        let number = self.wait(&expected, take).await;
        self.to_send.notify_one();
        Channel { socket: Rc::clone(self), number }
    }

    /// Asks the node for a channel and gets it.
    pub(super) async fn open(self: &Rc<Self>, name: &str) -> Channel {
        // Nobody here looks at the clock.
        let patience = Patience::Channel(Moment::default());
        let number = self.state.borrow_mut().multiplex.open(name, patience).unwrap();
        self.to_send.notify_one();
        let expected = format!("{name} to be answered");
        let granted = self.wait(&expected, |state| state.granted.remove(&number)).await;
        assert!(granted, "{name} was declined");
        Channel { socket: Rc::clone(self), number }
    }
}

/// Whether a channel is given to the node only when the test takes it: both ends speak over the first
/// channel of the overlay that there is.
fn waits(name: &str) -> bool {
    name.starts_with("swarm://")
}

/// An open channel.
pub(super) struct Channel {
    socket: Rc<Socket>,
    number: ChannelNumber,
}

impl Channel {
    pub(super) fn say(&self, bytes: &[u8]) {
        self.socket.state.borrow_mut().multiplex.send(self.number, bytes).unwrap();
        self.socket.to_send.notify_one();
    }

    /// Hears until `take` can take what it wants from the front.
    pub(super) async fn hear<T>(&self, expected: &str, mut take: impl FnMut(&mut Vec<u8>) -> Option<T>) -> T {
        let look = |state: &mut State| take(state.heard.entry(self.number).or_default());
        self.socket.wait(expected, look).await
    }
}
