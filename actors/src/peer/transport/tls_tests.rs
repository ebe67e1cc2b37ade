//! Handshakes between recorded devices, good and bad, without a network.

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use skep_protocol::identity::ChainError;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::super::testing::{Device, NOW};
use super::*;

/// Bytes that a pipe of the tests holds.
const PIPE: usize = 64 * 1024;

const ONE_VERSION: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

type Outcome = Result<SecureStream<DuplexStream>, TlsError>;

/// One side: what it shows, and whom it wants.
struct Side<'a> {
    shows: &'a TlsIdentity,
    wants: DeviceId,
    versions: &'static [&'static SupportedProtocolVersion],
}

impl<'a> Side<'a> {
    fn new(own: &'a Device, peer: &Device) -> Self {
        Self { shows: &own.identity, wants: peer.id, versions: VERSIONS }
    }

    async fn run(self, stream: DuplexStream, role: IceRole) -> Outcome {
        let verifier = Arc::new(PeerVerifier::new(self.wants, NOW));
        secure_with(stream, role, self.shows, &verifier, self.versions).await
    }
}

/// The handshake of a client and a server.
async fn shake(client: Side<'_>, server: Side<'_>) -> (Outcome, Outcome) {
    let (left, right) = duplex(PIPE);
    tokio::join!(client.run(left, IceRole::Controlling), server.run(right, IceRole::Controlled))
}

fn shows(certificates: &[&Device], key: &Device) -> TlsIdentity {
    let chain = certificates.iter().flat_map(|device| device.chain.certificates());
    let chain = chain.map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    let key = PrivatePkcs8KeyDer::from(key.key.pkcs8());
    TlsIdentity(Arc::new(CertifiedKey::new(chain, any_supported_type(&key.into()).unwrap())))
}

fn refusal(outcome: Outcome) -> PeerRefused {
    match outcome {
        Err(TlsError::PeerRefused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

async fn assert_refused_by_peer(outcome: Outcome) {
    match outcome {
        Err(TlsError::Handshake(_)) => {}
        // The client hears of it when it reads.
        Ok(mut stream) => assert!(stream.read_u8().await.is_err()),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn both_sides_learn_device_and_account_of_the_other() {
    let (alice, bob) = (Device::alice(), Device::bob());
    let (client, server) = shake(Side::new(&alice, &bob), Side::new(&bob, &alice)).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    assert_eq!((client.device(), server.device()), (bob.id, alice.id));
    assert_eq!(server.account().to_hex(), "b08c67bcb7b83cdffbf33f0f4a68c82095c9790c");
    assert_eq!(client.peer().chain(), &bob.chain);
    client.write_all(b"over").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    server.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "over");
}

#[tokio::test]
async fn devices_of_2023_with_negative_serial_numbers_are_accepted() {
    let (old, new) = (Device::load("jami-13.7.0/accounts/alice"), Device::bob());
    assert!(old.chain.leaf().serial()[0] >= 0x80);
    for (client, server) in [(&old, &new), (&new, &old)] {
        let (client, server) = shake(Side::new(client, server), Side::new(server, client)).await;
        assert!(client.is_ok() && server.is_ok(), "{client:?} {server:?}");
    }
}

#[tokio::test]
async fn a_device_of_today_that_has_no_account_yet_is_accepted_as_client_and_as_server() {
    let (known, mut waiting) = (Device::bob(), Device::alice());
    let chain = include_bytes!("../../../../tests/data/spec/identity/temporary-chain.pem");
    waiting.chain = Chain::parse(chain).unwrap();
    waiting.identity = TlsIdentity::new(&waiting.chain, &waiting.key).unwrap();
    for (client, server) in [(&waiting, &known), (&known, &waiting)] {
        let (client, server) = shake(Side::new(client, server), Side::new(server, client)).await;
        assert!(client.is_ok() && server.is_ok(), "{client:?} {server:?}");
    }
}

#[tokio::test]
async fn peers_with_one_version_of_tls_are_served() {
    let (alice, bob) = (Device::alice(), Device::bob());
    for versions in ONE_VERSION {
        let old_client = Side { versions, ..Side::new(&alice, &bob) };
        let (client, server) = shake(old_client, Side::new(&bob, &alice)).await;
        assert!(client.is_ok() && server.is_ok(), "{client:?} {server:?}");
        let old_server = Side { versions, ..Side::new(&bob, &alice) };
        let (client, server) = shake(Side::new(&alice, &bob), old_server).await;
        assert!(client.is_ok() && server.is_ok(), "{client:?} {server:?}");
    }
}

#[tokio::test]
async fn another_device_than_the_expected_one_is_refused_by_either_side() {
    let (alice, bob, carla) = (Device::alice(), Device::bob(), Device::load("newest/accounts/carla"));
    let other = PeerRefused::OtherDevice { expected: carla.id, found: bob.id };
    let (client, server) = shake(Side::new(&alice, &carla), Side::new(&bob, &alice)).await;
    assert_eq!(refusal(client), other);
    assert_refused_by_peer(server).await;
    let (client, server) = shake(Side::new(&bob, &alice), Side::new(&alice, &carla)).await;
    assert_eq!(refusal(server), other);
    assert_refused_by_peer(client).await;
}

#[tokio::test]
async fn chains_that_prove_nothing_are_refused_by_either_side() {
    let (alice, bob) = (Device::alice(), Device::bob());
    let alone =
        TlsIdentity::new(&Chain::new(bob.chain.leaf().clone(), Vec::new()).unwrap(), &bob.key).unwrap();
    let strange = shows(&[&bob, &alice], &bob);
    let cases = [(alone, ChainError::NoIssuer), (strange, ChainError::TooManyCertificates)];
    for (shown, error) in cases {
        let bad = || Side { shows: &shown, ..Side::new(&bob, &alice) };
        let (client, server) = shake(Side::new(&alice, &bob), bad()).await;
        assert_eq!(refusal(client), PeerRefused::Chain(error.clone()));
        assert_refused_by_peer(server).await;
        let (client, server) = shake(bad(), Side::new(&alice, &bob)).await;
        assert_eq!(refusal(server), PeerRefused::Chain(error));
        assert_refused_by_peer(client).await;
    }
}

#[tokio::test]
async fn a_stolen_chain_is_of_no_use_without_its_key() {
    let (alice, bob) = (Device::alice(), Device::bob());
    let stolen = shows(&[&bob], &alice);
    for versions in ONE_VERSION {
        let thief = || Side { shows: &stolen, versions, ..Side::new(&alice, &alice) };
        let (client, server) = shake(Side::new(&alice, &bob), thief()).await;
        assert!(matches!(client, Err(TlsError::Handshake(_))), "{client:?}");
        assert!(server.is_err(), "{server:?}");
        let (_, server) = shake(thief(), Side::new(&alice, &bob)).await;
        assert!(matches!(server, Err(TlsError::Handshake(_))), "{server:?}");
    }
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let (alice, bob) = (Device::alice(), Device::bob());
    let (left, right) = duplex(PIPE);
    let config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(VERSIONS)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PeerVerifier::new(bob.id, NOW)))
        .with_no_client_auth();
    let name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
    let connector = TlsConnector::from(Arc::new(config));
    let client = connector.connect(name, left);
    let (_, server) = tokio::join!(client, Side::new(&bob, &alice).run(right, IceRole::Controlled));
    assert!(matches!(server, Err(TlsError::Handshake(_))), "{server:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_handshake_is_given_up_after_forty_seconds() {
    let (alice, bob) = (Device::alice(), Device::bob());
    for role in [IceRole::Controlling, IceRole::Controlled] {
        let (stream, _silent) = duplex(PIPE);
        let start = Instant::now();
        let outcome = Side::new(&alice, &bob).run(stream, role).await;
        assert!(matches!(outcome, Err(TlsError::TimedOut)), "{outcome:?}");
        assert_eq!(start.elapsed().as_secs(), HANDSHAKE_TIMEOUT.as_secs());
    }
}

#[tokio::test]
async fn garbage_instead_of_tls_is_an_error() {
    let (alice, bob) = (Device::alice(), Device::bob());
    for role in [IceRole::Controlling, IceRole::Controlled] {
        let (stream, mut noise) = duplex(PIPE);
        noise.write_all(&[0x47; 4096]).await.unwrap();
        let outcome = Side::new(&alice, &bob).run(stream, role).await;
        assert!(matches!(outcome, Err(TlsError::Handshake(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_end_without_farewell_is_an_error() {
    let (alice, bob) = (Device::alice(), Device::bob());
    let (client, server) = shake(Side::new(&alice, &bob), Side::new(&bob, &alice)).await;
    drop(client);
    let error = server.unwrap().read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn the_client_hello_has_the_renegotiation_signal_and_a_share_for_p384() {
    let (alice, bob) = (Device::alice(), Device::bob());
    let (stream, mut wire) = duplex(PIPE);
    let mut header = [0; 5];
    let mut hello = Vec::new();
    tokio::select! {
        _ = Side::new(&alice, &bob).run(stream, IceRole::Controlling) => panic!("nobody answered"),
        () = async {
            wire.read_exact(&mut header).await.unwrap();
            hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
            wire.read_exact(&mut hello).await.unwrap();
        } => {}
    }
    // Type, length, version and random come before the session id and the cipher suites.
    let suites = 38 + 1 + usize::from(hello[38]);
    let count = usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    let suites: Vec<_> = hello[suites + 2..suites + 2 + count].chunks(2).collect();
    assert_eq!(suites, [[0x13, 0x02], [0x13, 0x03], [0xc0, 0x30], [0xcc, 0xa8], [0x00, 0xff]]);
    // Extension key_share: one share, of group 0x0018.
    let share = [0x00, 0x33, 0x00, 0x67, 0x00, 0x65, 0x00, 0x18, 0x00, 0x61, 0x04];
    assert!(hello.windows(share.len()).any(|window| window == share));
}
