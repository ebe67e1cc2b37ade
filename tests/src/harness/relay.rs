//! A bad network between two UDP programs on loopback.
//!
//! ```text
//!   client ◄──► front  relay  back ◄──► server
//! ```
//!
//! What comes to the front is passed on from the back, and the other way round: late, and some of it
//! never. Which datagrams are lost follows from the seed. Their order stays.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Failure, Result};

/// Largest datagram.
const MAX_DATAGRAM: usize = 64 * 1024;

/// Datagrams under way; what comes beyond is lost.
const UNDER_WAY: usize = 4096;

/// How the network treats datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// How long each takes.
    pub delay: Duration,
    /// How many of a hundred are lost.
    pub loss: u64,
    /// Decides which.
    pub seed: u64,
}

/// The network; ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    task: AbortHandle,
}

impl Relay {
    /// A network between its own [address](Self::address) and a server on loopback.
    ///
    /// # Errors
    /// [`Failure::File`] when the system has no sockets.
    pub async fn start(server: SocketAddr, weather: Weather) -> Result<Self> {
        let (front, back) = (socket().await?, socket().await?);
        let address = front.local_addr().map_err(failure())?;
        let task = tokio::spawn(pass(front, back, server, weather)).abort_handle();
        Ok(Self { address, task })
    }

    /// Where the server is reached through the network.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn failure() -> impl FnOnce(std::io::Error) -> Failure {
    Failure::file(Path::new("a UDP socket"))
}

async fn socket() -> Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failure())
}

/// A datagram under way.
struct Flight {
    due: Instant,
    forth: bool,
    bytes: Vec<u8>,
}

async fn pass(front: UdpSocket, back: UdpSocket, server: SocketAddr, weather: Weather) {
    let (mut there, mut here) = (vec![0; MAX_DATAGRAM], vec![0; MAX_DATAGRAM]);
    let mut flights: VecDeque<Flight> = VecDeque::new();
    let (mut client, mut chance) = (None, weather.seed);
    loop {
        let due = flights.front().map(|flight| flight.due);
        let landing = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let (forth, bytes) = tokio::select! {
            received = front.recv_from(&mut there) => {
                let Ok((length, from)) = received else { continue };
                client = Some(from);
                (true, there.get(..length).unwrap_or_default())
            }
            received = back.recv_from(&mut here) => {
                let Ok((length, _)) = received else { continue };
                (false, here.get(..length).unwrap_or_default())
            }
            () = landing => {
                if let Some(Flight { forth, bytes, .. }) = flights.pop_front() {
                    let (socket, to) = if forth { (&back, Some(server)) } else { (&front, client) };
                    if let Some(to) = to {
                        // Who is gone gets nothing.
                        let _ = socket.send_to(&bytes, to).await;
                    }
                }
                continue;
            }
        };
        // Knuth's generator; its upper bits are the better ones.
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (chance >> 33) % 100 >= weather.loss && flights.len() < UNDER_WAY {
            flights.push_back(Flight { due: Instant::now() + weather.delay, forth, bytes: bytes.to_vec() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn some_datagrams_get_through_in_order_and_answers_come_back() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let weather = Weather { delay: Duration::from_millis(5), loss: 50, seed: 7 };
        let relay = Relay::start(server.local_addr().unwrap(), weather).await.unwrap();
        for number in 0..100_u8 {
            client.send_to(&[number], relay.address()).await.unwrap();
        }
        let (mut buffer, mut last, mut count) = ([0], None, 0);
        let wait = Duration::from_secs(1);
        while let Ok(received) = tokio::time::timeout(wait, server.recv_from(&mut buffer)).await {
            assert!(last < Some(buffer[0]));
            (last, count) = (Some(buffer[0]), count + 1);
            server.send_to(&buffer, received.unwrap().1).await.unwrap();
        }
        assert!((30..70).contains(&count), "{count}");
        assert_eq!(client.recv_from(&mut buffer).await.unwrap().1, relay.address());
    }
}
