//! Making an account, and changing what it says.
//!
//! Whether there is an account with an address is looked up after the answer, by a sweep: so the answer cannot tell, nor
//! can the time that it took.

use std::time::Duration;

use shopzen_chassis::{Answers, Caller, Cx, Failure, Request};
use shopzen_contracts::{
    Confidential, FieldError, Problem, Role,
    auth::accounts::{
        Accepted, Account, ChangeEmail, ChangeMe, ChangePassword, ConfirmEmail, Done,
        EmailConfirmed, PasswordOutcome, Register, RequestPasswordReset, ResetPassword,
    },
    notify::MailKind,
};
use uuid::Uuid;

use super::{
    check_email, check_name,
    sessions::{Checked, check_password},
};
use crate::{
    Auth,
    factors::need_step_up,
    letters::{self, LINK_LIFETIME, NewLetter},
    passwords,
    store::{
        self,
        accounts::{Credentials, Registration, Whose},
        letters::Link,
    },
};

/// How often wishes for accounts and passwords are answered.
pub(crate) const ANSWER_EVERY: Duration = Duration::from_millis(250);
/// Wishes answered in one transaction.
const ANSWERED_MAX: i64 = 64;

pub(crate) async fn register(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<Register>],
) -> Answers<Accepted> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(take_registration(cx, auth, &request.body).await?);
    }
    Ok(answers)
}

async fn take_registration(
    cx: &mut Cx,
    auth: &Auth,
    wish: &Register,
) -> Result<Result<Accepted, Problem>, Failure> {
    let (email, name) = (check_email(&wish.email), check_name(&wish.name));
    let length = passwords::check_length(&wish.password);
    let (email, name) = match (email, name, length) {
        (Ok(email), Ok(name), Ok(())) => (email, name),
        (email, name, length) => {
            let errors = [email.err(), name.err(), length.err()];
            return Ok(Err(Problem::invalid(
                errors.into_iter().flatten().collect(),
            )));
        }
    };
    let hash = auth
        .passwords
        .hash(&wish.password, &[&email, &name])
        .await?;
    let Some(password_hash) = hash else {
        return Ok(Err(Problem::invalid(vec![passwords::too_easily_guessed()])));
    };
    let registration = Registration {
        id: cx.new_id(),
        email,
        name,
        password_hash,
    };
    store::accounts::insert_registration(cx.db(), &registration).await?;
    Ok(Ok(Accepted {}))
}

pub(crate) async fn request_password_reset(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<RequestPasswordReset>],
) -> Answers<Accepted> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(match check_email(&request.body.email) {
            Ok(email) => {
                let id = cx.new_id();
                store::accounts::insert_password_reset(cx.db(), id, &email).await?;
                Ok(Accepted {})
            }
            Err(error) => Err(Problem::invalid(vec![error])),
        });
    }
    Ok(answers)
}

/// Looks up the accounts of those who wished for something, and writes to them.
pub(crate) async fn answer_wishes(cx: &mut Cx, auth: &Auth) -> Result<bool, Failure> {
    let registrations = store::accounts::take_registrations(cx.db(), ANSWERED_MAX).await?;
    let resets = store::accounts::take_password_resets(cx.db(), ANSWERED_MAX).await?;
    for (id, email, has_account) in &registrations {
        let letter = if *has_account {
            NewLetter::new(MailKind::AlreadyRegistered, email)
        } else {
            NewLetter {
                registration_id: Some(*id),
                ..NewLetter::new(MailKind::ConfirmEmail, email)
            }
        };
        letters::write(cx, &letter).await?;
    }
    for email in &resets {
        let account =
            store::accounts::find_credentials(cx.db(), Whose::Email(email), auth.demo_accounts);
        if let Some(account) = account.await? {
            let letter = NewLetter {
                account_id: Some(account.id),
                password_version: Some(account.password_version),
                ..NewLetter::new(MailKind::ResetPassword, email)
            };
            letters::write(cx, &letter).await?;
        }
    }
    let wished = registrations.len() + resets.len();
    if wished > 0 {
        letters::send_due(cx, auth).await?;
    }
    Ok(i64::try_from(wished).is_ok_and(|wished| wished >= ANSWERED_MAX))
}

/// A link that leads nowhere any more; which of the reasons it is does not matter to who has it.
fn no_good() -> Problem {
    Problem::new(
        422,
        "link_invalid",
        "this link is not valid, was used already or is too old; ask for a new one",
    )
}

/// A link that is ours and in time, and has not been followed unless it does not matter.
async fn link_of(
    cx: &mut Cx,
    auth: &Auth,
    token: &Confidential,
) -> Result<Option<(Uuid, Link)>, Failure> {
    let Some(letter_id) = auth.links.letter_of(token) else {
        return Ok(None);
    };
    let link = store::letters::find_link(cx.db(), letter_id, LINK_LIFETIME).await?;
    Ok(link
        .filter(|link| link.is_in_time)
        .map(|link| (letter_id, link)))
}

pub(crate) async fn confirm_email(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<ConfirmEmail>],
) -> Answers<EmailConfirmed> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let link = link_of(cx, auth, &request.body.token).await?;
        answers.push(match link {
            Some((letter_id, link)) if link.is_of(MailKind::ConfirmEmail) => {
                make_account(cx, letter_id, &link).await?
            }
            Some((letter_id, link))
                if link.is_of(MailKind::ApproveNewEmail)
                    || link.is_of(MailKind::ConfirmNewEmail) =>
            {
                agree_to_change(cx, auth, letter_id, &link).await?
            }
            _ => Err(no_good()),
        });
    }
    Ok(answers)
}

async fn make_account(
    cx: &mut Cx,
    letter_id: Uuid,
    link: &Link,
) -> Result<Result<EmailConfirmed, Problem>, Failure> {
    let confirmed = || EmailConfirmed {
        email: Some(link.recipient.clone()),
    };
    if link.used_at().is_some() {
        // Followed twice, as mail programs do: what it is good for has been done.
        return Ok(Ok(confirmed()));
    }
    let registration = match link.registration_id {
        Some(id) => store::accounts::find_registration(cx.db(), id).await?,
        None => None,
    };
    let Some(registration) = registration else {
        return Ok(Err(no_good()));
    };
    let id = cx.new_id();
    let is_new =
        store::accounts::insert_registered(cx.db(), id, &registration, Role::Shopper).await?;
    store::letters::save_used(cx.db(), letter_id).await?;
    if is_new {
        tracing::info!(account_id = %id, "an account was made");
    }
    Ok(if is_new {
        Ok(confirmed())
    } else {
        Err(no_good())
    })
}

async fn agree_to_change(
    cx: &mut Cx,
    auth: &Auth,
    letter_id: Uuid,
    link: &Link,
) -> Result<Result<EmailConfirmed, Problem>, Failure> {
    let (Some(account_id), Some(change_id)) = (link.account_id, link.change_id) else {
        return Ok(Err(no_good()));
    };
    let account =
        store::accounts::find_credentials(cx.db(), Whose::Id(account_id), auth.demo_accounts);
    let account = account.await?;
    let is_current = account.is_some_and(|it| Some(it.password_version) == link.password_version);
    if !is_current {
        return Ok(Err(no_good()));
    }
    store::letters::save_used(cx.db(), letter_id).await?;
    let Some(email) = store::letters::find_agreed_change(cx.db(), change_id).await? else {
        return Ok(Ok(EmailConfirmed { email: None }));
    };
    if !store::accounts::save_email(cx.db(), account_id, &email).await? {
        return Ok(Err(no_good()));
    }
    tracing::info!(%account_id, "an account has another address");
    Ok(Ok(EmailConfirmed { email: Some(email) }))
}

pub(crate) async fn reset_password(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<ResetPassword>],
) -> Answers<Done> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(reset(cx, auth, &request.body).await?);
    }
    Ok(answers)
}

async fn reset(
    cx: &mut Cx,
    auth: &Auth,
    wish: &ResetPassword,
) -> Result<Result<Done, Problem>, Failure> {
    let link = link_of(cx, auth, &wish.token).await?;
    let link =
        link.filter(|(_, link)| link.is_of(MailKind::ResetPassword) && link.used_at().is_none());
    let Some((letter_id, link)) = link else {
        return Ok(Err(no_good()));
    };
    let account = match link.account_id {
        Some(id) => {
            store::accounts::find_credentials(cx.db(), Whose::Id(id), auth.demo_accounts).await?
        }
        None => None,
    };
    let account = account.filter(|it| Some(it.password_version) == link.password_version);
    let Some(account) = account else {
        return Ok(Err(no_good()));
    };
    if let Err(error) = set_password(cx, auth, &account, &wish.password, None).await? {
        return Ok(Err(Problem::invalid(vec![error])));
    }
    store::letters::save_used(cx.db(), letter_id).await?;
    Ok(Ok(Done {}))
}

/// Sets a new password and ends all sessions but one, and tells the owner.
async fn set_password(
    cx: &mut Cx,
    auth: &Auth,
    account: &Credentials,
    password: &Confidential,
    but: Option<Uuid>,
) -> Result<Result<(), FieldError>, Failure> {
    if let Err(error) = passwords::check_length(password) {
        return Ok(Err(error));
    }
    let about = [account.email.as_str(), account.name.as_str()];
    let Some(hash) = auth.passwords.hash(password, &about).await? else {
        return Ok(Err(passwords::too_easily_guessed()));
    };
    store::accounts::save_password(cx.db(), account.id, &hash).await?;
    store::sessions::end_all(cx.db(), account.id, but).await?;
    store::sessions::forget_failures_of(cx.db(), &crate::secrets::hash(&account.email)).await?;
    let letter = NewLetter {
        account_id: Some(account.id),
        ..NewLetter::new(MailKind::PasswordChanged, &account.email)
    };
    letters::write(cx, &letter).await?;
    tracing::info!(account_id = %account.id, "a new password was set");
    letters::send_due(cx, auth).await?;
    Ok(Ok(()))
}

pub(crate) async fn change_me(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<ChangeMe>],
) -> Answers<Account> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(
            match (account_of(&request.caller), check_name(&request.body.name)) {
                (Err(problem), _) => Err(problem),
                (_, Err(error)) => Err(Problem::invalid(vec![error])),
                (Ok(id), Ok(name)) => store::accounts::save_name(cx.db(), id, &name)
                    .await?
                    .ok_or_else(|| Problem::not_found("account")),
            },
        );
    }
    Ok(answers)
}

pub(crate) async fn change_password(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<ChangePassword>],
) -> Answers<PasswordOutcome> {
    let mut answers = Vec::with_capacity(requests.len());
    for Request { body, caller, .. } in requests {
        let checked = own(cx, auth, caller, &body.current_password).await?;
        answers.push(match checked {
            Err(refused) => refused,
            Ok(account) => set_password(cx, auth, &account, &body.password, caller.session_id())
                .await?
                .map(|()| PasswordOutcome::Accepted)
                .map_err(|error| Problem::invalid(vec![error])),
        });
    }
    Ok(answers)
}

pub(crate) async fn change_email(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<ChangeEmail>],
) -> Answers<PasswordOutcome> {
    let mut answers = Vec::with_capacity(requests.len());
    for Request { body, caller, .. } in requests {
        let email = match check_email(&body.email) {
            Ok(email) => email,
            Err(error) => {
                answers.push(Err(Problem::invalid(vec![error])));
                continue;
            }
        };
        let checked = own(cx, auth, caller, &body.current_password).await?;
        answers.push(match checked {
            Err(refused) => refused,
            Ok(account) => {
                write_about_change(cx, auth, &account, &email).await?;
                Ok(PasswordOutcome::Accepted)
            }
        });
    }
    Ok(answers)
}

/// A letter to each address. Where the new one has an account already, following both links does nothing; that is not said
/// here, where it would tell strangers.
async fn write_about_change(
    cx: &mut Cx,
    auth: &Auth,
    account: &Credentials,
    email: &str,
) -> Result<(), Failure> {
    let change_id = cx.new_id();
    let both = [
        (
            MailKind::ApproveNewEmail,
            account.email.as_str(),
            Some(email),
        ),
        (MailKind::ConfirmNewEmail, email, None),
    ];
    for (kind, recipient, subject) in both {
        let letter = NewLetter {
            subject,
            account_id: Some(account.id),
            password_version: Some(account.password_version),
            change_id: Some(change_id),
            ..NewLetter::new(kind, recipient)
        };
        letters::write(cx, &letter).await?;
    }
    letters::send_due(cx, auth).await?;
    Ok(())
}

pub(crate) fn account_of(caller: &Caller) -> Result<Uuid, Problem> {
    caller
        .account_id()
        .ok_or_else(|| Problem::unauthenticated("send an access token"))
}

/// The caller's account, once the password that came along is the right one. Who has a second factor has to have shown it
/// of late as well.
pub(super) async fn own(
    cx: &mut Cx,
    auth: &Auth,
    caller: &Caller,
    password: &Confidential,
) -> Result<Result<Credentials, Result<PasswordOutcome, Problem>>, Failure> {
    let id = match account_of(caller) {
        Ok(id) => id,
        Err(problem) => return Ok(Err(Err(problem))),
    };
    let account =
        store::accounts::find_credentials(cx.db(), Whose::Id(id), auth.demo_accounts).await?;
    let Some(account) = account else {
        return Ok(Err(Err(Problem::not_found("account"))));
    };
    if let Err(problem) = need_step_up(cx, caller).await? {
        return Ok(Err(Err(problem)));
    }
    let email = account.email.clone();
    Ok(
        match check_password(cx, auth, &email, Some(account), password).await? {
            Checked::Right(account) => Ok(account),
            Checked::Wrong => Err(Ok(PasswordOutcome::Wrong)),
            Checked::Blocked { retry_after_s } => {
                Err(Ok(PasswordOutcome::Blocked { retry_after_s }))
            }
        },
    )
}
