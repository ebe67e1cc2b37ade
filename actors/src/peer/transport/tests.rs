//! The whole way, from candidates to a secure stream, over the loopback of this host.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use skep_protocol::ids::DeviceId;
use skep_protocol::link::ice_text::IceText;
use tokio::time::Instant;

use super::testing::{Device, NOW};
use super::*;

/// Responder and requester, with what each expects of the other.
async fn meet(
    (responder, wanted_by_responder): (&Device, DeviceId),
    (requester, wanted_by_requester): (&Device, DeviceId),
) -> (Result<SecureStream, TlsError>, Result<SecureStream, TlsError>) {
    let options = GatherOptions { include_loopback: true };
    let controlling = IceAgent::gather(IceRole::Controlling, options).unwrap();
    let controlled = IceAgent::gather(IceRole::Controlled, options).unwrap();
    let (left, right) = (controlling.local_text().clone(), controlled.local_text().clone());
    tokio::join!(
        reach(controlling, responder, wanted_by_responder, &right),
        reach(controlled, requester, wanted_by_requester, &left),
    )
}

async fn reach(
    agent: IceAgent,
    own: &Device,
    wanted: DeviceId,
    remote: &IceText,
) -> Result<SecureStream, TlsError> {
    let role = agent.role();
    let soon = Instant::now() + Duration::from_secs(20);
    let stream = Box::pin(agent.connect(remote, soon)).await.unwrap();
    secure(stream, role, &own.identity, wanted, NOW).await
}

#[tokio::test]
async fn two_devices_meet_and_a_mebibyte_goes_each_way() {
    let (alice, bob) = (Device::alice(), Device::bob());
    let (left, right) = meet((&alice, bob.id), (&bob, alice.id)).await;
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!((left.device(), right.device()), (bob.id, alice.id));
    let sent: Vec<u8> = (0..1_048_576_u32).map(|n| n.to_le_bytes()[0]).collect();
    let exchange = |stream: SecureStream| async {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut received = vec![0; sent.len()];
        let (read, written) = tokio::join!(reader.read_exact(&mut received), async {
            writer.write_all(&sent).await?;
            writer.flush().await
        });
        read.unwrap();
        written.unwrap();
        (received, reader.unsplit(writer))
    };
    let ((from_right, left), (from_left, right)) = tokio::join!(exchange(left), exchange(right));
    assert!(from_right == sent && from_left == sent);
    close_in_good_order(left, right).await;
}

async fn close_in_good_order(mut left: SecureStream, mut right: SecureStream) {
    left.shutdown().await.unwrap();
    assert_eq!(right.read(&mut [0; 1]).await.unwrap(), 0);
    right.shutdown().await.unwrap();
    assert_eq!(left.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_device_that_is_not_the_expected_one_is_refused() {
    let (alice, bob, carla) = (Device::alice(), Device::bob(), Device::load("newest/accounts/carla"));
    let refused = |result| matches!(result, Err(TlsError::PeerRefused(PeerRefused::OtherDevice { .. })));
    let (left, _) = meet((&alice, carla.id), (&bob, alice.id)).await;
    assert!(refused(left));
    let (_, right) = meet((&alice, bob.id), (&bob, carla.id)).await;
    assert!(refused(right));
}
