//! What makes a TLS peer the device we mean (`spec: connection 6.3`): its certificate chain, the
//! device id of its key, and a handshake signature made with that key.
//!
//! Certificates are read by `skep_protocol::identity`, not by rustls' own reader, which refuses the
//! negative serial numbers that Jami's certificates have.

use std::sync::OnceLock;

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    UnparsedPublicKey,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError as TlsCertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
};
use skep_protocol::identity::{
    Certificate, CertificateError, Chain, ChainError, MAX_CHAIN_BYTES, MAX_CHAIN_LENGTH, VerifiedChain,
};
use skep_protocol::ids::DeviceId;
use skep_protocol::time::UnixMillis;

/// Signature schemes accepted, the ones TLS 1.3 has first.
const SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// Why the certificates of a peer were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerRefused {
    /// A certificate of the peer cannot be read.
    #[error("a certificate of the peer is of no use: {0}")]
    Certificate(#[from] CertificateError),
    /// The chain is not believed.
    #[error("the certificate chain of the peer is not believed: {0}")]
    Chain(#[from] ChainError),
    /// The peer proved to be another device than the one wanted.
    #[error("the peer is device {found}, not {expected}; this may be an attack, do not connect")]
    OtherDevice {
        /// The device that was wanted.
        expected: DeviceId,
        /// The device that answered.
        found: DeviceId,
    },
}

/// Judges the peer of one connection, in either role.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    expected: DeviceId,
    now: UnixMillis,
    verdict: OnceLock<Result<VerifiedChain, PeerRefused>>,
}

impl PeerVerifier {
    /// A judge of validities at `now`, who accepts the device `expected` and no other.
    pub(super) fn new(expected: DeviceId, now: UnixMillis) -> Self {
        Self { expected, now, verdict: OnceLock::new() }
    }

    /// What was found out about the peer, once it has shown its certificates.
    pub(super) fn verdict(&self) -> Option<&Result<VerifiedChain, PeerRefused>> {
        self.verdict.get()
    }

    fn judge(&self, leaf: &CertificateDer<'_>, issuers: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        match self.verdict.get_or_init(|| self.verify(leaf, issuers)) {
            Ok(_) => Ok(()),
            Err(_) => Err(TlsCertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
    ) -> Result<VerifiedChain, PeerRefused> {
        if issuers.len() >= MAX_CHAIN_LENGTH {
            return Err(ChainError::TooManyCertificates.into());
        }
        let length = issuers.iter().fold(leaf.len(), |sum, issuer| sum.saturating_add(issuer.len()));
        if length > MAX_CHAIN_BYTES {
            return Err(ChainError::TooLong(length).into());
        }
        let leaf = Certificate::from_der(leaf)?;
        // The cheapest check that can fail comes before any signature is verified.
        let found = leaf.device_id();
        if found != self.expected {
            return Err(PeerRefused::OtherDevice { expected: self.expected, found });
        }
        let issuers = issuers.iter().map(|issuer| Certificate::from_der(issuer)).collect::<Result<_, _>>()?;
        Ok(Chain::new(leaf, issuers)?.verify(self.now)?)
    }

    /// Verifies that the handshake was signed with the key of the certificate just judged.
    fn verify_signature(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
        parameters: Option<&'static RsaParameters>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let bad = rustls::Error::InvalidCertificate(TlsCertificateError::BadSignature);
        let (Some(Ok(chain)), Some(parameters)) = (self.verdict(), parameters) else { return Err(bad) };
        UnparsedPublicKey::new(parameters, chain.device().public_key().der())
            .verify(message, signed.signature())
            .map_err(|_| bad)?;
        Ok(HandshakeSignatureValid::assertion())
    }
}

fn pss(scheme: SignatureScheme) -> Option<&'static RsaParameters> {
    match scheme {
        SignatureScheme::RSA_PSS_SHA256 => Some(&RSA_PSS_2048_8192_SHA256),
        SignatureScheme::RSA_PSS_SHA384 => Some(&RSA_PSS_2048_8192_SHA384),
        SignatureScheme::RSA_PSS_SHA512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// TLS 1.3 has no handshake signatures of this kind.
fn pkcs1(scheme: SignatureScheme) -> Option<&'static RsaParameters> {
    match scheme {
        SignatureScheme::RSA_PKCS1_SHA256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        SignatureScheme::RSA_PKCS1_SHA384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        SignatureScheme::RSA_PKCS1_SHA512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    }
}

/// Signatures are judged alike in both roles; rustls asks each through a trait of its own.
macro_rules! judges_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            _leaf: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.verify_signature(message, signed, pss(signed.scheme).or_else(|| pkcs1(signed.scheme)))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            _leaf: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.verify_signature(message, signed, pss(signed.scheme))
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            SCHEMES.to_vec()
        }
    };
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(leaf, issuers).map(|()| ServerCertVerified::assertion())
    }

    judges_signatures!();
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(leaf, issuers).map(|()| ClientCertVerified::assertion())
    }

    judges_signatures!();
}
