//! Server-sent events: how every stream begins, stays open and ends.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, header::CACHE_CONTROL, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{StreamExt, stream};
use shopzen_chassis::Asker;
use tokio::{sync::watch, time::Instant};

use crate::{Edge, answer::Cache, front::Client, limits::StreamPlace, problem::Refusal};

/// A comment is sent after this much silence, so that nobody on the way thinks the stream is dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// When a browser comes back after the stream broke.
const RETRY: Duration = Duration::from_secs(3);
/// How often a stream looks for itself, in case news was lost.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Tells nginx not to keep events back.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Where the events of one stream come from.
pub(crate) trait Source: Send + 'static {
    /// The next event, or `None` at the end.
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send;
}

/// The whole answer. `place` is held as long as the stream is open.
pub(crate) fn stream(source: impl Source, place: Place) -> Response {
    let begin = stream::iter([Event::default().retry(RETRY)]);
    let events = stream::unfold((source, place), async |(mut source, place)| {
        source.next().await.map(|event| (event, (source, place)))
    });
    let events = begin.chain(events).map(Ok::<_, Infallible>);
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(HEARTBEAT))
        .into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, Cache::Never.value());
    response
        .headers_mut()
        .insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// One of the streams that an address may have open.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is held, not read")] Option<StreamPlace>);

impl FromRequestParts<Arc<Edge>> for Place {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Refusal> {
        let client = Extension::<Client>::from_request_parts(parts, edge).await;
        let (Some(limits), Ok(Extension(Client(address)))) = (&edge.limits, client) else {
            return Ok(Self(None));
        };
        limits
            .stream(address)
            .map(|place| Self(Some(place)))
            .ok_or(Refusal::TooManyStreams)
    }
}

/// When to look again, because something may have been missed.
#[derive(Debug)]
pub(crate) struct Lookout {
    connections: watch::Receiver<u64>,
    every: Duration,
    next: Instant,
}

impl Lookout {
    pub(crate) fn new(asker: &Asker, every: Duration) -> Self {
        let mut connections = asker.connections();
        connections.mark_unchanged();
        Self {
            connections,
            every,
            next: Instant::now() + every,
        }
    }

    /// Until the connection to NATS was lost or is back, or nobody has looked for a while.
    pub(crate) async fn due(&mut self) {
        tokio::select! {
            // Where the connection's owner has gone, only the clock is left.
            Ok(()) = self.connections.changed() => {}
            () = tokio::time::sleep_until(self.next) => {}
        }
        self.next = Instant::now() + self.every;
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    struct Counting(u32);

    impl Source for Counting {
        async fn next(&mut self) -> Option<Event> {
            self.0 += 1;
            (self.0 <= 2).then(|| {
                Event::default()
                    .event("order")
                    .id(self.0.to_string())
                    .data("{}")
            })
        }
    }

    struct Silent;

    impl Source for Silent {
        async fn next(&mut self) -> Option<Event> {
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn a_stream_says_when_to_come_back_then_its_events_and_then_it_ends() {
        let response = stream(Counting(0), Place(None));
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        let body = to_bytes(response.into_body(), 1_000).await.unwrap();
        assert_eq!(
            body,
            "retry: 3000\n\nevent: order\nid: 1\ndata: {}\n\nevent: order\nid: 2\ndata: {}\n\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_by_a_comment() {
        let mut body = stream(Silent, Place(None)).into_body().into_data_stream();
        let began = Instant::now();
        assert_eq!(body.next().await.unwrap().unwrap(), "retry: 3000\n\n");
        assert_eq!(body.next().await.unwrap().unwrap(), ":\n\n");
        assert_eq!(began.elapsed().as_secs(), HEARTBEAT.as_secs());
    }
}
