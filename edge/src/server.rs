//! Accepts connections and serves them until the process ends.
//!
//! Not `axum::serve`, which lets clients take as long over their headers as they like
//! (research, security.md §3.3).

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use crate::{HEADER_BYTES_MAX, front::Peer, tls::Tls, wire::Wire};

/// Open connections; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8_192;
/// From the first moment of a connection, or from the last answer, to the end of the next headers.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(15);
const HEADERS_MAX: usize = 100;
/// How long a client may take to agree on how to encrypt.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests that have begun may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// After accepting failed, for example because there were no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    while let Some(place) = shutdown
        .run_until_cancelled(Arc::clone(&places).acquire_owned())
        .await
        .map(|place| place.expect("nobody closes the semaphore"))
    {
        let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else {
            break;
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                let _ = timeout(ACCEPT_PAUSE, shutdown.cancelled()).await;
                continue;
            }
        };
        let connection = connection(stream, tls.clone(), peer, router.clone(), shutdown.clone());
        let cut = cut.clone();
        connections.spawn(async move {
            cut.run_until_cancelled(connection).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "connections did not end in time and are cut"
        );
        cut.cancel();
        connections.wait().await;
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<Tls>,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
) {
    // An answer is written at once, so there is nothing to wait for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection is gone already");
        return;
    }
    let Some(tls) = tls else {
        return talk(stream, peer, router, shutdown).await;
    };
    let shaken =
        shutdown.run_until_cancelled(timeout(HANDSHAKE_TIMEOUT, tls.acceptor.accept(stream)));
    match shaken.await {
        Some(Ok(Ok(stream))) => talk(stream, peer, router, shutdown).await,
        Some(Ok(Err(error))) => tracing::debug!(%error, %peer, "a connection is not encrypted"),
        Some(Err(_)) => tracing::debug!(%peer, "a connection is not encrypted in time"),
        None => {}
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer.ip()));
        router.clone().call(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_TIMEOUT)
            .max_header_size(HEADER_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(Wire::new(stream)), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection broke");
    }
}
