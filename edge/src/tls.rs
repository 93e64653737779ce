//! TLS, where the edge has a certificate. Behind a proxy that has one it needs none.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    DEFAULT_VERSIONS, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether somebody has put a new certificate there.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why connections cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("http.tls_certificate and http.tls_key belong together: one of them is missing")]
    Half,
    #[error("{path}: {why}")]
    File { path: PathBuf, why: String },
    #[error("the key does not belong to the certificate, or neither can be used: {0}")]
    Pair(#[from] rustls::Error),
}

/// Encrypts connections with whatever certificate is there now.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

impl Tls {
    /// None where neither file is named.
    pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Option<Self>, TlsError> {
        match (
            certificate.as_os_str().is_empty(),
            key.as_os_str().is_empty(),
        ) {
            (true, true) => return Ok(None),
            (false, false) => {}
            _ => return Err(TlsError::Half),
        }
        let certificate = Arc::new(Certificate::read(certificate, key)?);
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(DEFAULT_VERSIONS)?
                .with_no_client_auth()
                .with_cert_resolver(Arc::<Certificate>::clone(&certificate));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self {
            acceptor: Arc::new(config).into(),
            certificate,
        }))
    }

    /// Takes up new certificates until shutdown: they are renewed every few weeks, and nobody should have to restart a shop
    /// for that.
    pub(crate) async fn keep_fresh(&self, shutdown: &CancellationToken) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            match self.certificate.look_again() {
                Ok(false) => {}
                Ok(true) => tracing::info!("the certificate is a new one"),
                // The one before may still be good; whoever replaces two files is between them for a moment.
                Err(error) => tracing::warn!(%error, "the certificate cannot be read again"),
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// A certificate with its key, and the files that they are in.
#[derive(Debug)]
struct Certificate {
    chain_file: PathBuf,
    key_file: PathBuf,
    current: RwLock<Read>,
}

/// What the files had in them, and what was made of it.
#[derive(Clone, Debug)]
struct Read {
    bytes: [Vec<u8>; 2],
    pair: Arc<CertifiedKey>,
}

impl Certificate {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            chain_file: certificate.to_owned(),
            key_file: key.to_owned(),
            current: RwLock::new(read(certificate, key)?),
        })
    }

    /// Whether there is another one.
    fn look_again(&self) -> Result<bool, TlsError> {
        let found = read(&self.chain_file, &self.key_file)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if found.bytes == current.bytes {
            return Ok(false);
        }
        *current = found;
        Ok(true)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.pair))
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Read, TlsError> {
    let wrong = |path: &Path, why: String| TlsError::File {
        path: path.to_owned(),
        why,
    };
    let bytes = |path: &Path| fs::read(path).map_err(|error| wrong(path, error.to_string()));
    let (certificates, private) = (bytes(certificate)?, bytes(key)?);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificates)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(certificate, error.to_string()))?;
    if chain.is_empty() {
        let why = "there is no certificate in it, in PEM";
        return Err(wrong(certificate, why.to_owned()));
    }
    let private_key =
        PrivateKeyDer::from_pem_slice(&private).map_err(|error| wrong(key, error.to_string()))?;
    let pair = CertifiedKey::from_der(chain, private_key, &aws_lc_rs::default_provider())?;
    Ok(Read {
        bytes: [certificates, private],
        pair: Arc::new(pair),
    })
}
