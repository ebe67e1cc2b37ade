//! TLS between two devices (`spec: connection 6`): who each of them is, and secrecy for what they
//! say. The requester, which ICE controls, is the server.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use skep_protocol::identity::{Chain, VerifiedChain};
use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::keys::PrivateKey;
use skep_protocol::time::UnixMillis;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::ice::IceRole;
use super::peer_verifier::{PeerRefused, PeerVerifier};
use super::stream::IceStream;

/// How long a handshake may take (`spec: connection 2.5`).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(40);

/// Both versions are offered even where one would do: only a client that offers 1.2 sends the
/// renegotiation signal without which the reference drops a session (`spec: connection 6.1`).
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// The algorithms of the reference that the crypto library has; P-521 and finite-field groups are
/// not among them. P-384 comes first, because its key share is what the reference wants to see.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::SECP384R1, kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
});

/// Why there is no secure stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Our own key cannot be used.
    #[error("our own device key cannot be used for TLS: {0}")]
    OwnKey(rustls::Error),
    /// Nothing but a mistake of ours in the settings leads here.
    #[error("the TLS settings are not consistent: {0}")]
    Settings(rustls::Error),
    /// The peer is not who it should be.
    #[error(transparent)]
    PeerRefused(#[from] PeerRefused),
    /// The peer presented no certificate that could be judged.
    #[error("the peer did not say who it is")]
    Anonymous,
    /// The peer broke off, broke the rules, or refused us.
    #[error("the TLS handshake with the peer failed: {0}")]
    Handshake(io::Error),
    /// The handshake took too long.
    #[error("the TLS handshake was not finished in time; the peer may be overloaded or gone")]
    TimedOut,
}

/// What this device shows to peers: its certificate chain, and a key that signs. Cloning is cheap,
/// and one value serves all connections.
#[derive(Clone)]
pub struct TlsIdentity(Arc<CertifiedKey>);

impl TlsIdentity {
    /// The identity of the device whose chain and key these are.
    ///
    /// # Errors
    /// [`TlsError::OwnKey`] when the key cannot sign.
    pub fn new(chain: &Chain, key: &PrivateKey) -> Result<Self, TlsError> {
        let certificates =
            chain.certificates().map(|certificate| CertificateDer::from(certificate.der().to_vec()));
        let key = PrivatePkcs8KeyDer::from(key.pkcs8());
        let key = aws_lc_rs::sign::any_supported_type(&key.into()).map_err(TlsError::OwnKey)?;
        Ok(Self(Arc::new(CertifiedKey::new(certificates.collect(), key))))
    }

    fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.0)))
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

/// A stream to a device that has proved who it is.
///
/// Reading ends with end-of-file only when the peer closed the stream in good order; a connection
/// that just ends is an error. Where we are the client, a peer that refuses us shows as an error of
/// the first read, because TLS 1.3 lets the client finish first.
pub struct SecureStream<S = IceStream> {
    stream: TlsStream<S>,
    peer: VerifiedChain,
}

impl<S> SecureStream<S> {
    /// Certificates of the peer.
    #[must_use]
    pub fn peer(&self) -> &VerifiedChain {
        &self.peer
    }

    /// The device at the other end.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.peer.device_id()
    }

    /// The account that the device belongs to.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.peer.account_id()
    }
}

/// Makes `stream` secure, with the device `expected` at its other end. `role` is the one from ICE;
/// certificates must be valid `now`.
///
/// # Errors
/// When the peer is another device, is not believed, breaks the protocol or takes longer than
/// [`HANDSHAKE_TIMEOUT`].
pub async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    role: IceRole,
    identity: &TlsIdentity,
    expected: DeviceId,
    now: UnixMillis,
) -> Result<SecureStream<S>, TlsError> {
    let verifier = Arc::new(PeerVerifier::new(expected, now));
    secure_with(stream, role, identity, &verifier, VERSIONS).await
}

async fn secure_with<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    role: IceRole,
    identity: &TlsIdentity,
    verifier: &Arc<PeerVerifier>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<SecureStream<S>, TlsError> {
    let handshake = Box::pin(shake_hands(stream, role, identity, verifier, versions));
    let result = timeout(HANDSHAKE_TIMEOUT, handshake).await.map_err(|_| TlsError::TimedOut)?;
    match (result, verifier.verdict()) {
        (Ok(stream), Some(Ok(peer))) => Ok(SecureStream { stream, peer: peer.clone() }),
        // The reason for a failed handshake is a refusal of ours, if there was one.
        (_, Some(Err(refused))) => Err(refused.clone().into()),
        (Ok(_), None) => Err(TlsError::Anonymous),
        (Err(error), _) => Err(error),
    }
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    role: IceRole,
    identity: &TlsIdentity,
    verifier: &Arc<PeerVerifier>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<TlsStream<S>, TlsError> {
    let done = match role {
        IceRole::Controlling => {
            let config = Arc::new(client_config(identity, Arc::clone(verifier), versions)?);
            // No name is sent; this one only fills the argument.
            let name = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
            TlsConnector::from(config).connect(name, stream).await.map(TlsStream::from)
        }
        IceRole::Controlled => {
            let config = Arc::new(server_config(identity, Arc::clone(verifier), versions)?);
            TlsAcceptor::from(config).accept(stream).await.map(TlsStream::from)
        }
    };
    done.map_err(TlsError::Handshake)
}

fn client_config(
    identity: &TlsIdentity,
    verifier: Arc<PeerVerifier>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(versions)
        .map_err(TlsError::Settings)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(identity.resolver());
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_config(
    identity: &TlsIdentity,
    verifier: Arc<PeerVerifier>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(versions)
        .map_err(TlsError::Settings)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity.resolver());
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SecureStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SecureStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> fmt::Debug for SecureStream<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SecureStream")
            .field("device", &self.device())
            .field("account", &self.account())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
