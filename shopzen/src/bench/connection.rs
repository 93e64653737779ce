//! One kept-open connection to the shop, with one request on its way at a time.

use std::{fmt, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::response::{Malformed, Response};

/// How long it may take until the shop takes the connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may take: the shop holds an order back for ten seconds at most (API.md, 3).
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// What is asked of the system in one read. An order and its head fit in.
const READ_BYTES: usize = 16 * 1024;
const RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Characters of an answer that are shown where it was not the one hoped for.
const EXCERPT_LENGTH: usize = 300;

/// Why there is no answer. The connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// The system says so.
    Io(io::ErrorKind),
    /// The shop closed the connection in the middle.
    Closed,
    TimedOut,
    /// What came is not what a kept-open connection may carry.
    Malformed,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(kind) => kind.fmt(f),
            Self::Closed => f.write_str("connection closed"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Malformed => f.write_str("answer is not HTTP/1.1"),
        }
    }
}

impl std::error::Error for Broken {}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl From<Malformed> for Broken {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub async fn open(to: SocketAddr) -> Result<Self, Broken> {
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(to))
            .await
            .map_err(|_elapsed| Broken::TimedOut)??;
        // A request is one small write, and nothing is behind it that it could wait for.
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(READ_BYTES),
        })
    }

    /// Sends a whole request and waits for the whole answer. After a failure, open another one.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, Broken> {
        let Self { stream, received } = self;
        received.clear();
        let response = timeout(ANSWER_LIMIT, async {
            stream.write_all(request).await?;
            loop {
                received.reserve(READ_BYTES);
                if stream.read_buf(received).await? == 0 {
                    return Err(Broken::Closed);
                }
                if let Some(response) = Response::parse(received)? {
                    return Ok(response);
                }
                if received.len() > RESPONSE_BYTES_MAX {
                    return Err(Broken::Malformed);
                }
            }
        })
        .await
        .map_err(|_elapsed| Broken::TimedOut)??;
        // Nothing else was asked for.
        if response.length != received.len() {
            return Err(Broken::Malformed);
        }
        Ok(Answer {
            status: response.status,
            body: &received[response.body],
            is_last: response.is_last,
        })
    }
}

/// What the shop says to one request.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Of HTTP.
    pub status: u16,
    pub body: &'a [u8],
    /// Whether the connection is closed behind it.
    pub is_last: bool,
}

impl Answer<'_> {
    /// Its status and how its body begins, for people.
    pub fn excerpt(&self) -> String {
        let body = String::from_utf8_lossy(self.body);
        let mut body: String = body.chars().take(EXCERPT_LENGTH).collect();
        body.retain(|character| !character.is_control());
        format!("{} {body}", self.status)
    }
}
