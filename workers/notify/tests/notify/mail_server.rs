//! A mail server that speaks as much SMTP (RFC 5321) as a client needs, and fails on demand.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// What becomes of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Taken,
    /// Refused for now, after its last byte.
    Refused,
    /// Stored; but the connection ends before the client learns of it.
    TakenInSilence,
}

#[derive(Default)]
struct Book {
    /// Of the next mails; those after them are taken.
    fates: VecDeque<Fate>,
    /// Every mail whose last byte came in, with the recipients of its envelope.
    seen: Vec<Seen>,
    sessions_now: usize,
    sessions_most: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) recipients: Vec<String>,
    pub(crate) text: String,
    pub(crate) fate: Fate,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        self.text
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .expect("the header is there")
    }
}

pub(crate) struct MailServer {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl MailServer {
    pub(crate) async fn start(fates: impl IntoIterator<Item = Fate>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let book = Book {
            fates: fates.into_iter().collect(),
            ..Book::default()
        };
        let book = Arc::new(Mutex::new(book));
        spawn(accept(listener, Arc::clone(&book)));
        Self { address, book }
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.book.lock().expect("no test panics here").seen.clone()
    }

    /// The most sessions there were at one time.
    pub(crate) fn sessions_most(&self) -> usize {
        self.book.lock().expect("no test panics here").sessions_most
    }
}

#[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

async fn accept(listener: TcpListener, book: Arc<Mutex<Book>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let book = Arc::clone(&book);
        spawn(async move {
            {
                let mut book = book.lock().expect("no test panics here");
                book.sessions_now += 1;
                book.sessions_most = book.sessions_most.max(book.sessions_now);
            }
            // A client that hangs up is none of our business.
            let _ = converse(stream, &book).await;
            book.lock().expect("no test panics here").sessions_now -= 1;
        });
    }
}

async fn converse(stream: TcpStream, book: &Mutex<Book>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 test ESMTP\r\n").await?;
    let mut recipients = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let verb = line.get(..4).unwrap_or("").to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" | "HELO" => "250 test",
            "MAIL" | "RSET" => {
                recipients.clear();
                "250 ok"
            }
            "RCPT" => {
                recipients.push(line);
                "250 ok"
            }
            "NOOP" => "250 ok",
            "QUIT" => "221 bye",
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                let mut book = book.lock().expect("no test panics here");
                let fate = book.fates.pop_front().unwrap_or(Fate::Taken);
                book.seen.push(Seen {
                    recipients: std::mem::take(&mut recipients),
                    text,
                    fate,
                });
                match fate {
                    Fate::Taken => "250 taken",
                    Fate::Refused => "451 not now",
                    Fate::TakenInSilence => return Ok(()),
                }
            }
            _ => "500 what?",
        };
        writer.write_all(answer.as_bytes()).await?;
        writer.write_all(b"\r\n").await?;
    }
    Ok(())
}
