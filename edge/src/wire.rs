//! The socket below hyper, with two things that hyper leaves to others: a client that does not read
//! is let go, and a request that is no HTTP gets a problem document like any other refusal.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::StatusCode;
use shopzen_chassis::trace::TraceParent;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use crate::problem;

/// A client that takes no byte for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Wire<S = TcpStream> {
    socket: S,
    /// What goes out in the place of a bare refusal, and how much of it has gone.
    replacement: Option<(Vec<u8>, usize)>,
    /// Runs while the client does not read.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            replacement: None,
            patience: None,
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_TIMEOUT)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.replacement.is_none() {
            match find_bare_refusal(bytes) {
                None => return this.write(cx, bytes),
                // First what stands before it; hyper comes back with the rest.
                Some((start @ 1.., _)) => return this.write(cx, &bytes[..start]),
                Some((0, status)) => this.replacement = Some((refusal(status), 0)),
            }
        }
        while let Some((own, sent)) = this.replacement.take() {
            let written = this.write(cx, &own[sent..]);
            if let Poll::Ready(Ok(count @ 1..)) = written {
                if sent + count < own.len() {
                    this.replacement = Some((own, sent + count));
                }
                continue;
            }
            this.replacement = Some((own, sent));
            return written;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buffer)
    }
}

/// The statuses with which hyper answers what it cannot parse.
const BARE: [StatusCode; 3] = [
    StatusCode::BAD_REQUEST,
    StatusCode::URI_TOO_LONG,
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
];
/// Such an answer is shorter than this.
const BARE_BYTES_MAX: usize = 160;

/// Where in what hyper is about to write its own answer to a broken request starts: a head without a
/// body, at the very end, of nothing but these header lines. Ours all have a `Request-Id`.
fn find_bare_refusal(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail_start = bytes.len().saturating_sub(BARE_BYTES_MAX);
    let tail = &bytes[tail_start..];
    let start = tail.windows(9).rposition(|window| window == b"HTTP/1.1 ")?;
    let head = std::str::from_utf8(&tail[start..]).ok()?;
    let mut lines = head.strip_suffix("\r\n\r\n")?.split("\r\n");
    let status_line = lines.next()?;
    let status = BARE.into_iter().find(|status| {
        status_line[9..]
            .split(' ')
            .next()
            .is_some_and(|code| code == status.as_str())
    })?;
    let bare = lines.all(|line| {
        ["connection: ", "content-length: 0", "date: "]
            .iter()
            .any(|start| line.starts_with(start))
    });
    bare.then_some((tail_start + start, status))
}

fn refusal(status: StatusCode) -> Vec<u8> {
    let trace = TraceParent::start();
    let mut problem = problem::of_status(status);
    problem.trace_id = Some(trace.trace_id().to_owned());
    let body = problem::to_json(&problem);
    let mut answer = format!(
        "HTTP/1.1 {status}\r\n\
         content-type: application/problem+json\r\n\
         content-length: {}\r\n\
         cache-control: no-store\r\n\
         x-content-type-options: nosniff\r\n\
         request-id: {}\r\n\
         connection: close\r\n\r\n",
        body.len(),
        trace.trace_id(),
    )
    .into_bytes();
    answer.extend(body);
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const BARE_400: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Sun, 22 Nov 2026 16:12:51 GMT\r\n\r\n";

    async fn written(pieces: &[&[u8]], pipe: usize) -> String {
        let (ours, mut theirs) = duplex(pipe);
        let mut wire = Wire::new(ours);
        let mut text = String::new();
        let write = async {
            for piece in pieces {
                wire.write_all(piece).await.unwrap();
            }
            wire.shutdown().await.unwrap();
        };
        let ((), read) = tokio::join!(write, theirs.read_to_string(&mut text));
        read.unwrap();
        text
    }

    #[tokio::test]
    async fn a_bare_refusal_becomes_a_problem_however_small_the_pipe_is() {
        for pipe in [1, 7, 4_096] {
            let text = written(&[BARE_400], pipe).await;
            assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
            assert!(
                text.contains("content-type: application/problem+json"),
                "{text}"
            );
            assert!(text.contains("\"code\":\"malformed_request\""), "{text}");
        }
    }

    #[tokio::test]
    async fn what_stands_before_a_bare_refusal_goes_out_as_it_is() {
        let answer = b"HTTP/1.1 200 OK\r\nrequest-id: 1\r\ncontent-length: 2\r\n\r\n{}";
        let text = written(&[&[&answer[..], BARE_400].concat()], 16).await;
        assert!(text.as_bytes().starts_with(answer), "{text}");
        assert!(text.contains("problem+json"), "{text}");
    }

    #[tokio::test]
    async fn our_own_answers_are_left_alone() {
        let own: [&[u8]; 4] = [
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nrequest-id: 1\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nrequest-id: 1\r\n\r\n",
            b"5\r\nHTTP/1.1 400 Bad Request\r\n0\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 0\r\ndate: now\r\n\r\n",
        ];
        for answer in own {
            assert_eq!(written(&[answer], 16).await.as_bytes(), answer);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_let_go() {
        let (ours, _theirs) = duplex(4);
        let error = Wire::new(ours)
            .write_all(b"more than four")
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
