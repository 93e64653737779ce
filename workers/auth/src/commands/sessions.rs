//! Signing in and out.

use std::time::Duration;

use shopzen_chassis::{Answers, Cx, Failure, Request};
use shopzen_contracts::{
    Confidential, Problem, Role,
    auth::{
        accounts::{
            Account, Done, EndSession, SessionInUse, SignIn, SignInOutcome, SignOut, UseSession,
        },
        factors::FactorMethod,
    },
};

use super::{accounts::account_of, normalised};
use crate::{
    Auth,
    factors::{self, Amr, BY_PASSWORD},
    grants, secrets,
    store::{
        self,
        accounts::{Credentials, Whose},
        sessions::NewSession,
    },
    token::{PAGES_CLIENT_ID, Subject, in_token},
};

/// How long a shopper stays signed in without a sign of life, and at the longest.
const SHOPPER_IDLE: Duration = Duration::from_hours(14 * 24);
const SHOPPER_LIFETIME: Duration = Duration::from_hours(90 * 24);
/// Staff can do more harm.
const STAFF_IDLE: Duration = Duration::from_mins(30);
const STAFF_LIFETIME: Duration = Duration::from_hours(12);
/// How exactly it is known when a session was used last.
const SEEN_EVERY: Duration = Duration::from_mins(5);
/// Sessions of one account; one more ends the one that was used least.
const SESSIONS_MAX: i64 = 50;
/// Characters of what a browser calls itself that are kept.
const DEVICE_LENGTH_MAX: usize = 200;

/// Attempts that may fail before the next one has to wait.
const FREE_FAILURES: i32 = 5;
/// The longest wait after a failed attempt.
const BLOCKED_MAX: Duration = Duration::from_mins(15);

/// What became of a password that somebody gave.
pub(crate) enum Checked {
    Right(Credentials),
    Wrong,
    Blocked { retry_after_s: u32 },
}

/// Checks a password, and counts the attempt where it fails. Whether there is an account or not, it counts and takes the
/// same time.
pub(crate) async fn check_password(
    cx: &mut Cx,
    auth: &Auth,
    email: &str,
    account: Option<Credentials>,
    password: &Confidential,
) -> Result<Checked, Failure> {
    let email_hash = secrets::hash(email);
    if let Some(seconds) = store::sessions::find_block(cx.db(), &email_hash).await? {
        let blocked = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let retry_after_s = u32::try_from(blocked.as_secs() + 1).unwrap_or(u32::MAX);
        return Ok(Checked::Blocked { retry_after_s });
    }
    let hash = account.as_ref().and_then(|it| it.password_hash.clone());
    let is_right = auth.passwords.verify(password, hash).await?;
    match account {
        Some(account) if is_right => {
            store::sessions::forget_failures_of(cx.db(), &email_hash).await?;
            Ok(Checked::Right(account))
        }
        _ => {
            store::sessions::save_failure(cx.db(), &email_hash, FREE_FAILURES, BLOCKED_MAX).await?;
            Ok(Checked::Wrong)
        }
    }
}

pub(crate) async fn sign_in(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<SignIn>],
) -> Answers<SignInOutcome> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(Ok(begin(cx, auth, &request.body).await?));
    }
    Ok(answers)
}

async fn begin(cx: &mut Cx, auth: &Auth, attempt: &SignIn) -> Result<SignInOutcome, Failure> {
    // What no account can have is looked for all the same: as nobody.
    let email = normalised(&attempt.email).unwrap_or_default();
    let account =
        store::accounts::find_credentials(cx.db(), Whose::Email(&email), auth.demo_accounts)
            .await?;
    let account = match check_password(cx, auth, &email, account, &attempt.password).await? {
        Checked::Right(account) => account,
        Checked::Wrong => return Ok(SignInOutcome::Wrong),
        Checked::Blocked { retry_after_s } => return Ok(SignInOutcome::Blocked { retry_after_s }),
    };
    if let Some(Challenged { challenge, methods }) = challenge(cx, &account, BY_PASSWORD).await? {
        return Ok(SignInOutcome::SecondFactorNeeded { challenge, methods });
    }
    let begun = Begun {
        amr: BY_PASSWORD,
        has_shown_factor: false,
        device: &attempt.device,
        instead_of: attempt.instead_of.as_ref(),
    };
    let session = begin_session(cx, &account, begun).await?;
    Ok(SignInOutcome::SignedIn { session })
}

/// A sign-in that waits for a second factor, and what shows one.
pub(super) struct Challenged {
    pub(super) challenge: Confidential,
    pub(super) methods: Vec<FactorMethod>,
}

/// Asks for the second factor, where the account has one: what was shown until now is not enough.
pub(super) async fn challenge(
    cx: &mut Cx,
    account: &Credentials,
    amr: Amr,
) -> Result<Option<Challenged>, Failure> {
    let methods = store::factors::find_methods(cx.db(), account.id).await?;
    if methods.is_empty() {
        return Ok(None);
    }
    let challenge = secrets::new_secret()?;
    let hash = secrets::hash(challenge.expose());
    let version = account.password_version;
    store::factors::insert_challenge(cx.db(), &hash, account.id, version, amr).await?;
    Ok(Some(Challenged { challenge, methods }))
}

/// How a session has begun, and where.
pub(super) struct Begun<'a> {
    pub(super) amr: &'a [&'a str],
    pub(super) has_shown_factor: bool,
    /// What the browser calls itself.
    pub(super) device: &'a str,
    /// The session that it had until now.
    pub(super) instead_of: Option<&'a Confidential>,
}

/// Begins the session of somebody who has shown who they are.
pub(super) async fn begin_session(
    cx: &mut Cx,
    account: &Credentials,
    begun: Begun<'_>,
) -> Result<Confidential, Failure> {
    if let Some(session) = begun.instead_of {
        end_by_secret(cx, session).await?;
    }
    let session = secrets::new_secret()?;
    let (idle, lifetime) = if is_staff(&account.roles()?) {
        (STAFF_IDLE, STAFF_LIFETIME)
    } else {
        (SHOPPER_IDLE, SHOPPER_LIFETIME)
    };
    store::sessions::end_oldest(cx.db(), account.id, SESSIONS_MAX).await?;
    let id = cx.new_id();
    let device = device(begun.device);
    let new = NewSession {
        id,
        account_id: account.id,
        secret_hash: &secrets::hash(session.expose()),
        device: &device,
        amr: begun.amr,
        has_shown_factor: begun.has_shown_factor,
        lifetime,
        idle,
    };
    store::sessions::insert(cx.db(), &new).await?;
    tracing::info!(account_id = %account.id, session_id = %id, "signed in");
    Ok(session)
}

/// Whether somebody may do more than shop.
fn is_staff(roles: &[Role]) -> bool {
    roles.iter().any(|role| *role != Role::Shopper)
}

/// What a browser calls itself, as one short line.
fn device(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(DEVICE_LENGTH_MAX).collect()
}

pub(crate) async fn sign_out(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<SignOut>],
) -> Answers<Done> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        end_by_secret(cx, &request.body.session).await?;
        answers.push(Ok(Done {}));
    }
    Ok(answers)
}

async fn end_by_secret(cx: &mut Cx, session: &Confidential) -> Result<(), Failure> {
    let hash = secrets::hash(session.expose());
    if let Some(id) = store::sessions::find_by_secret(cx.db(), &hash).await? {
        store::sessions::end(cx.db(), &[id]).await?;
    }
    Ok(())
}

pub(crate) async fn use_session(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<UseSession>],
) -> Answers<SessionInUse> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let hash = secrets::hash(request.body.session.expose());
        let found = store::sessions::find_open(cx.db(), &hash, SEEN_EVERY, auth.demo_accounts);
        let Some(session) = found.await? else {
            let why = "this session has ended; sign in again";
            answers.push(Err(Problem::new(401, "session_ended", why)));
            continue;
        };
        if session.is_stale {
            store::sessions::save_seen(cx.db(), session.id).await?;
        }
        let roles = session.roles()?;
        let scopes = factors::scopes_for(cx, auth, session.account_id, &roles).await?;
        let subject = Subject {
            id: session.account_id,
            client_id: PAGES_CLIENT_ID,
            sid: Some(session.id),
            scope: in_token(&scopes),
        };
        let issued = grants::issue(cx, auth, subject).await?;
        answers.push(Ok(SessionInUse {
            access_token: Confidential::new(issued.access_token),
            expires_in: issued.expires_in,
            session_id: session.id,
            account: Account {
                id: session.account_id,
                created_at: session.account_created_at(),
                email: session.email,
                name: session.name,
            },
        }));
    }
    Ok(answers)
}

pub(crate) async fn end_session(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<EndSession>],
) -> Answers<Done> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let account_id = match account_of(&request.caller) {
            Ok(id) => id,
            Err(problem) => {
                answers.push(Err(problem));
                continue;
            }
        };
        let own = store::sessions::find_own(cx.db(), account_id, request.body.id).await?;
        answers.push(match own {
            Some(id) => {
                store::sessions::end(cx.db(), &[id]).await?;
                Ok(Done {})
            }
            None => Err(Problem::not_found("session")),
        });
    }
    Ok(answers)
}
