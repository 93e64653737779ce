//! Letters: written in the transaction that they are about, and handed to the notify worker until it has taken them.
//!
//! What they say, and what is in their links, stands in no event.

use std::time::Duration;

use shopzen_chassis::{AskError, Asking, Cx, Failure, Queue};
use shopzen_contracts::{
    Confidential,
    notify::{MailKind, SendLetter},
};
use uuid::Uuid;

use crate::{
    Auth,
    secrets::Links,
    store::{self, letters::DueLetter},
};

/// How often letters are looked for that nobody has taken.
pub(crate) const SEND_EVERY: Duration = Duration::from_millis(500);
/// How long the notify worker may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long a replica that was handing a letter over is thought to be dead.
const LEASE: Duration = Duration::from_secs(15);
/// Letters handed over at the same time.
const SENDING_MAX: i64 = 16;
/// Letters that strangers can have written to one address in an hour: further ones are not written.
const LETTERS_PER_HOUR_MAX: i64 = 5;
/// How long a link can be followed.
pub(crate) const LINK_LIFETIME: Duration = Duration::from_mins(30);

/// A letter that is to be written.
pub(crate) struct NewLetter<'a> {
    pub(crate) kind: MailKind,
    pub(crate) recipient: &'a str,
    /// What it names: an address, an app.
    pub(crate) subject: Option<&'a str>,
    pub(crate) account_id: Option<Uuid>,
    pub(crate) registration_id: Option<Uuid>,
    pub(crate) password_version: Option<i32>,
    pub(crate) change_id: Option<Uuid>,
}

impl<'a> NewLetter<'a> {
    pub(crate) fn new(kind: MailKind, recipient: &'a str) -> Self {
        Self {
            kind,
            recipient,
            subject: None,
            account_id: None,
            registration_id: None,
            password_version: None,
            change_id: None,
        }
    }
}

/// Letters that the notify worker has taken.
pub(crate) struct Taken(Uuid);

/// What a stranger can cause to be written to an address.
const FOR_THE_ASKING: [MailKind; 4] = [
    MailKind::ConfirmEmail,
    MailKind::AlreadyRegistered,
    MailKind::ResetPassword,
    MailKind::ConfirmNewEmail,
];

/// Writes a letter, unless strangers had too many written to its address of late.
pub(crate) async fn write(cx: &mut Cx, letter: &NewLetter<'_>) -> Result<(), Failure> {
    if FOR_THE_ASKING.contains(&letter.kind) && has_enough(cx, letter.recipient).await? {
        tracing::warn!(
            kind = letter.kind.as_str(),
            "a letter was not written: its address had too many within the hour"
        );
        return Ok(());
    }
    let id = cx.new_id();
    store::letters::insert(cx.db(), id, letter).await
}

async fn has_enough(cx: &mut Cx, recipient: &str) -> Result<bool, Failure> {
    let kinds = FOR_THE_ASKING.map(MailKind::as_str);
    let of_late = store::letters::count_of_last_hour(cx.db(), recipient, &kinds).await?;
    Ok(of_late >= LETTERS_PER_HOUR_MAX)
}

/// Hands over what is due once the transaction is committed.
pub(crate) async fn send_due(cx: &mut Cx, auth: &Auth) -> Result<bool, Failure> {
    for letter in store::letters::claim_due(cx.db(), SENDING_MAX, LEASE).await? {
        let request = request(&letter, &auth.links, &auth.issuer);
        let taken = auth.letters_taken.clone();
        cx.ask_after_commit(move |asker| async move {
            let asking = Asking {
                deadline: SEND_TIMEOUT,
                ..Asking::default()
            };
            match asker.command(&request, &asking).await {
                Ok(_) => report(&taken, letter.id).await,
                // It will never take this one.
                Err(AskError::Refused(problem)) if problem.status == 422 => {
                    tracing::error!(letter_id = %letter.id, problem.detail, "a letter was refused");
                    report(&taken, letter.id).await;
                }
                Err(error) => {
                    tracing::warn!(letter_id = %letter.id, %error, "a letter was not taken; will try again");
                }
            }
        });
    }
    Ok(false)
}

async fn report(taken: &Queue<Taken>, letter_id: Uuid) {
    taken.put(Taken(letter_id)).await;
}

/// Records what was taken.
pub(crate) async fn record(cx: &mut Cx, _: &Auth, taken: &[Taken]) -> Result<(), Failure> {
    let ids: Vec<Uuid> = taken.iter().map(|Taken(id)| *id).collect();
    store::letters::save_taken(cx.db(), &ids).await
}

fn request(letter: &DueLetter, links: &Links, issuer: &str) -> SendLetter {
    let page = match letter.kind {
        MailKind::ConfirmEmail | MailKind::ApproveNewEmail | MailKind::ConfirmNewEmail => {
            Some("confirm-email")
        }
        MailKind::ResetPassword => Some("new-password"),
        _ => None,
    };
    let link = page.map(|page| {
        let token = links.token(letter.id);
        Confidential::new(format!("{issuer}/{page}?token={}", token.expose()))
    });
    SendLetter {
        letter_id: letter.id,
        kind: letter.kind,
        recipient: letter.recipient.clone(),
        link,
        account_id: letter.account_id,
        subject: letter.subject.clone(),
    }
}
