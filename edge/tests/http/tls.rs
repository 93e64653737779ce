//! With a certificate of its own the edge speaks TLS, and takes up a new one while it runs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, DEFAULT_VERSIONS, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use shopzen_chassis::{Bus, NatsLogin, Process, Secret};
use shopzen_edge::Config;
use shopzen_test_servers::servers;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, interval},
};
use tokio_rustls::TlsConnector;

use crate::client::Shop;

const NAME: &str = "shop.test";
/// Longer than it takes to look for a new certificate, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Writes a new certificate with its key, and says what a client has to trust.
fn renew(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("certificate.pem"), cert.pem()).unwrap();
    cert.der().clone()
}

fn config(folder: &Path) -> Config {
    Config {
        public_url: format!("https://{NAME}"),
        tls_certificate: folder.join("certificate.pem"),
        tls_key: folder.join("key.pem"),
        ..Config::default()
    }
}

/// What an HTTPS client that trusts this certificate alone is answered.
async fn answer(shop: &Shop, trusted: &CertificateDer<'static>) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(DEFAULT_VERSIONS)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(shop.address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let mut stream = TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
        .ok()?;
    let request = format!("GET /sign-in HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    Some(answer)
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_while_the_shop_runs() {
    let folder = tempfile::tempdir().unwrap();
    let first = renew(folder.path());
    let shop = Shop::with(config(folder.path())).await;
    let page = answer(&shop, &first)
        .await
        .expect("it has this certificate");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(
        page.to_lowercase()
            .contains("strict-transport-security: max-age=31536000"),
        "{page}"
    );

    let second = renew(folder.path());
    let deadline = Instant::now() + PATIENCE;
    let mut tick = interval(Duration::from_millis(200));
    while answer(&shop, &second).await.is_none() {
        assert!(Instant::now() < deadline, "the new certificate is not used");
        tick.tick().await;
    }
    assert!(answer(&shop, &first).await.is_none(), "the old one is gone");

    // What is broken on the disk does not break what runs.
    fs::write(folder.path().join("certificate.pem"), "nonsense").unwrap();
    assert!(answer(&shop, &second).await.is_some());
}

#[tokio::test]
async fn who_does_not_encrypt_is_told_nothing() {
    let folder = tempfile::tempdir().unwrap();
    renew(folder.path());
    let shop = Shop::with(config(folder.path())).await;
    let mut stream = TcpStream::connect(shop.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    renew(folder.path());
    let good = config(folder.path());
    let other = tempfile::tempdir().unwrap();
    renew(other.path());
    let missing = folder.path().join("missing.pem");
    let bad = [
        Config {
            tls_key: missing.clone(),
            ..good.clone()
        },
        Config {
            tls_certificate: missing,
            ..good.clone()
        },
        Config {
            tls_key: other.path().join("key.pem"),
            ..good.clone()
        },
        Config {
            tls_certificate: good.tls_key.clone(),
            ..good.clone()
        },
        Config {
            tls_key: good.tls_certificate.clone(),
            ..good.clone()
        },
        Config {
            tls_key: PathBuf::new(),
            ..good
        },
    ];
    let url = tokio::task::spawn_blocking(|| servers().nats_url())
        .await
        .unwrap();
    for config in bad {
        let login = NatsLogin {
            url: url.clone(),
            user: "test".into(),
            password: Secret::new(""),
        };
        let bus = Bus::connect(&login).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (certificate, key) = (config.tls_certificate.clone(), config.tls_key.clone());
        let process = Process::default();
        let served = shopzen_edge::run(config, listener, bus, &process).await;
        assert!(served.is_err(), "{certificate:?} {key:?}");
    }
}
