//! Reading what a device says in its message channels, no faster than its account takes it.

use std::sync::Arc;

use skep_protocol::sip::stream::SipMessage;
use tokio::sync::Semaphore;

use super::channel::ChannelReceiver;
use super::dialect::{Dialect, Incoming};
use super::line::ReadLine;
use super::messages::{LinkEvent, Notice, Place};
use crate::supervision::Outlet;

/// Notices of one device that may wait in its account at once: one is handled while the next comes.
pub(super) const NOTICE_PLACES: usize = 2;

/// Channels asked for by one device that may wait in its account at once: it wants one for each
/// conversation when a link is up, and asks again for those declined.
pub(super) const OFFER_PLACES: usize = 64;

/// Reads a message channel to its end and tells what it says, a few notices at a time. What wants an
/// answer gets it through `line`, while somebody holds that; what is about calls is told with the line, to be answered by
/// others.
pub(super) async fn read_notices(
    receiver: &mut ChannelReceiver,
    line: &ReadLine,
    dialect: Dialect,
    events: &Outlet<LinkEvent>,
    places: &Arc<Semaphore>,
) {
    let (device, account) = (line.device, line.account);
    let mut reader = dialect.reader();
    while let Ok(bytes) = receiver.receive().await {
        let mut rest: &[u8] = &bytes;
        loop {
            let Incoming { notice, answer, call } = match reader.next(&mut rest) {
                Ok(Some(incoming)) => incoming,
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(device = %device.short(), %error, "a message channel is unreadable");
                    return;
                }
            };
            let Some(answering) = line.answering() else { return };
            if let Some(answer) = answer
                && answering.send(answer.into()).await.is_err()
            {
                return;
            }
            let heard = match (notice, call) {
                (Some(notice), _) => Heard::Notice(notice),
                (None, Some(call)) => Heard::Call(call),
                (None, None) => continue,
            };
            let Ok(place) = Arc::clone(places).acquire_owned().await.map(Place) else { return };
            let event = match heard {
                Heard::Notice(notice) => LinkEvent::Notice { device, account, notice, place },
                Heard::Call(message) => LinkEvent::Sip { line: answering, message, place },
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// What a message says.
enum Heard {
    Notice(Notice),
    Call(Box<SipMessage>),
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skep_protocol::ids::{AccountId, DeviceId};
    use skep_protocol::link::message::PeerMessage as WireMessage;
    use tokio::sync::mpsc;

    use super::super::channel::ChannelSender;
    use super::super::connection::Remote;
    use super::super::line::SipLine;
    use super::*;

    #[tokio::test]
    async fn a_device_that_floods_its_account_with_notices_takes_few_places_in_it() {
        let (inbound_sender, inbound) = mpsc::channel(1);
        let flood: Vec<u8> = (0..100)
            .flat_map(|id| {
                WireMessage { id, mime_type: "text/plain".to_owned(), content: "!".to_owned() }.encode()
            })
            .collect();
        inbound_sender.send(Bytes::from(flood)).await.unwrap();
        let open = inbound_sender.downgrade();
        drop(inbound_sender);
        let (events, mut account) = Outlet::channel("account", 256);
        let places = Arc::new(Semaphore::new(NOTICE_PLACES));
        let remote = Remote { device: DeviceId([7; 32]), account: AccountId([8; 20]) };
        let mut receiver = ChannelReceiver { inbound, end: Arc::default() };
        let (outbound, bulk) = (mpsc::channel(1).0, mpsc::channel(1).0);
        let sender = Arc::new(ChannelSender { number: 1, outbound, bulk, open });
        let (held, _reading) = SipLine::new(remote, &sender);
        let line = held.read();
        let mut read = Box::pin(read_notices(&mut receiver, &line, Dialect::Packed, &events, &places));
        let mut told = 0;
        loop {
            let ended = futures::poll!(&mut read).is_ready();
            assert!(account.len() <= NOTICE_PLACES);
            let waiting = account.len();
            for _ in 0..waiting {
                drop(account.recv().await);
            }
            told += waiting;
            if ended {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(told, 100, "nothing is lost");
    }
}
