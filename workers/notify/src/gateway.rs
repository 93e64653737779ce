//! The mail server.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{AsyncSmtpTransportBuilder, PoolConfig},
};
use shopzen_chassis::Queue;
use shopzen_contracts::notify::MailKind;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use uuid::Uuid;

use crate::{Config, sending::Outcome};

/// A connection that has had nothing to do for this long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The most columns of an address (RFC 5321, 4.5.3.1.3).
const ADDRESS_LENGTH_MAX: usize = 254;

/// Hands mails to the mail server.
pub(crate) struct Gateway {
    builder: AsyncSmtpTransportBuilder,
    /// Made at the first use: it starts a task, and a worker can be described outside of a runtime.
    transport: OnceLock<AsyncSmtpTransport<Tokio1Executor>>,
    sender: Mailbox,
    send_timeout: Duration,
    pub(crate) attempts_max: u32,
    places: Arc<Semaphore>,
    pub(crate) outcomes: Queue<Outcome>,
}

/// A mail that is to be handed over now.
#[derive(Clone, Debug)]
pub(crate) struct DueMail {
    pub(crate) id: Uuid,
    /// The order, or the letter about an account.
    pub(crate) about: Uuid,
    pub(crate) kind: MailKind,
    pub(crate) recipient: String,
    pub(crate) subject: String,
    pub(crate) body: String,
    /// Which attempt this is, from 1.
    pub(crate) attempt: i32,
    pub(crate) created_at: Timestamp,
}

/// Why a mail was not handed over. Whether the server has it all the same is not known: a connection
/// may have broken after the last byte.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the mail cannot be written: {0}")]
    Unwritable(String),
    #[error("the mail server did not take it: {0}")]
    Refused(#[from] lettre::transport::smtp::Error),
    #[error("the mail server did not take it within {0:?}")]
    TimedOut(Duration),
}

impl Gateway {
    pub(crate) fn new(
        builder: AsyncSmtpTransportBuilder,
        config: Config,
        outcomes: Queue<Outcome>,
    ) -> Self {
        let send_timeout = Duration::from_secs(config.send_timeout_s.into());
        let pool = PoolConfig::new()
            .max_size(config.sending_max)
            .idle_timeout(IDLE_TIMEOUT);
        Self {
            builder: builder.timeout(Some(send_timeout)).pool_config(pool),
            transport: OnceLock::new(),
            sender: config.sender.into_mailbox(),
            send_timeout,
            attempts_max: config.attempts_max,
            places: Arc::new(Semaphore::new(
                usize::try_from(config.sending_max).unwrap_or(1),
            )),
            outcomes,
        }
    }

    /// All places that are free now; none where all are taken.
    pub(crate) fn free_places(&self) -> Option<OwnedSemaphorePermit> {
        let free = u32::try_from(self.places.available_permits())
            .ok()
            .filter(|free| *free > 0)?;
        // Somebody may have been faster; then what was due waits for the next one that is done.
        Arc::clone(&self.places).try_acquire_many_owned(free).ok()
    }

    /// After this long a replica that took a mail to send it is thought to be dead.
    pub(crate) fn lease(&self) -> Duration {
        self.send_timeout * 2
    }

    /// Returns once the server has taken responsibility for the mail.
    pub(crate) async fn send(&self, mail: &DueMail) -> Result<(), SendError> {
        let message = compose(&self.sender, mail)?;
        let transport = self.transport.get_or_init(|| self.builder.clone().build());
        timeout(self.send_timeout, transport.send(message))
            .await
            .map_err(|_| SendError::TimedOut(self.send_timeout))??;
        Ok(())
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}

/// Whether a mail can be addressed to it.
pub(crate) fn is_address(text: &str) -> bool {
    text.len() <= ADDRESS_LENGTH_MAX && text.parse::<Address>().is_ok()
}

/// The same mail gives the same bytes each time, so that a repeat can be known.
fn compose(sender: &Mailbox, mail: &DueMail) -> Result<Message, SendError> {
    let unwritable = |error: &dyn fmt::Display| SendError::Unwritable(error.to_string());
    let recipient: Address = mail.recipient.parse().map_err(|error| unwritable(&error))?;
    // Keeps answering machines from answering a machine (RFC 3834).
    let auto_submitted = HeaderValue::new(
        HeaderName::new_from_ascii_str("Auto-Submitted"),
        "auto-generated".to_owned(),
    );
    Message::builder()
        .from(sender.clone())
        .to(Mailbox::new(None, recipient))
        .subject(mail.subject.clone())
        .date(SystemTime::from(mail.created_at))
        .message_id(Some(message_id(sender, mail)))
        .raw_header(auto_submitted)
        .header(ContentType::TEXT_PLAIN)
        .body(mail.body.clone())
        .map_err(|error| unwritable(&error))
}

fn message_id(sender: &Mailbox, mail: &DueMail) -> String {
    format!(
        "<{}.{}@{}>",
        mail.about,
        mail.kind.as_str(),
        sender.email.domain()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Sender;

    fn due(recipient: &str, subject: &str, body: &str) -> DueMail {
        DueMail {
            id: Uuid::nil(),
            about: "0199c7a4-6f00-7000-8000-00000000002a".parse().unwrap(),
            kind: MailKind::OrderConfirmed,
            recipient: recipient.to_owned(),
            subject: subject.to_owned(),
            body: body.to_owned(),
            attempt: 1,
            created_at: "2026-11-22T15:16:12Z".parse().unwrap(),
        }
    }

    /// The names of the header fields, and the body.
    fn written(mail: &DueMail) -> (Vec<String>, String) {
        let bytes = compose(&Sender::default().into_mailbox(), mail)
            .unwrap()
            .formatted();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let names = head
            .split("\r\n")
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split_once(':').unwrap().0.to_owned())
            .collect();
        (names, body.to_owned())
    }

    const FIELDS: [&str; 8] = [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "Content-Type",
        "Content-Transfer-Encoding",
    ];

    #[test]
    fn a_repeat_has_the_same_bytes() {
        let mail = due("ada@example.com", "Your order", "Hello");
        let first = compose(&Sender::default().into_mailbox(), &mail)
            .unwrap()
            .formatted();
        let again = compose(&Sender::default().into_mailbox(), &mail)
            .unwrap()
            .formatted();
        assert_eq!(first, again);
        let text = String::from_utf8(first).unwrap();
        assert!(
            text.contains(
                "Message-ID: <0199c7a4-6f00-7000-8000-00000000002a.order_confirmed@localhost>\r\n"
            ),
            "{text}"
        );
        assert_eq!(written(&mail).0, FIELDS);
    }

    #[test]
    fn what_is_no_address_gets_no_mail() {
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@example.com\r\nBcc: eve@example.com",
            "ada@example.com\nRCPT TO:<eve@example.com>",
            "ada@exam\u{0}ple.com",
            "Ada <ada@example.com>",
            "ada@example.com, eve@example.com",
            &format!("{}@example.com", "a".repeat(255)),
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
        for good in [
            "ada@example.com",
            "ada+shop@sub.example.com",
            "\"a b\"@example.com",
        ] {
            assert!(is_address(good), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_header(recipient: String, subject: String, body: String) {
            let mail = due("ada@example.com", &subject, &body);
            prop_assert_eq!(written(&mail).0, FIELDS);
            if is_address(&recipient) {
                prop_assert_eq!(written(&due(&recipient, "Your order", &body)).0, FIELDS);
            }
        }
    }
}
