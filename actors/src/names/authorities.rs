//! The certificate authorities that this system trusts (`spec: name-server 2`).

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Where systems keep their authorities, all in one file.
const FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Says where they are instead, as for other programs.
const VARIABLE: &str = "SSL_CERT_FILE";

/// Why servers cannot be asked over TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthoritiesError {
    /// None was found.
    #[error(
        "no certificate authorities were found; install the package ca-certificates, or name their file in {VARIABLE}"
    )]
    None,
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A TLS client that checks certificates against the system's authorities. It reads files.
///
/// # Errors
/// [`AuthoritiesError`].
pub fn system_authorities() -> Result<Arc<ClientConfig>, AuthoritiesError> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let files = named.map_or_else(|| FILES.iter().map(PathBuf::from).collect(), |file| vec![file]);
    let mut roots = RootCertStore::empty();
    for file in files {
        let Ok(certificates) = CertificateDer::pem_file_iter(&file) else { continue };
        // Some systems have authorities that cannot be used; the others still can.
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        if !roots.is_empty() {
            break;
        }
    }
    if roots.is_empty() {
        return Err(AuthoritiesError::None);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
