//! People let programs act for them.

use jiff::{SignedDuration, Timestamp};
use shopzen_chassis::{Answers, Caller, Cx, Failure, Request};
use shopzen_contracts::{
    Confidential, Problem,
    auth::authorization::{AuthorizationStep, Authorize},
};
use uuid::Uuid;

use crate::{
    Auth,
    authorization::{
        self, CONSENT_REQUIRED, DENIED, LOGIN_REQUIRED, Refusal, Wish, answer, host_of, in_words,
    },
    secrets,
    store::{
        self,
        authorization::{Application, Code},
    },
    token,
};

pub(crate) async fn authorize(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<Authorize>],
) -> Answers<AuthorizationStep> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(step(cx, auth, &request.caller, &request.body).await?);
    }
    Ok(answers)
}

async fn step(
    cx: &mut Cx,
    auth: &Auth,
    caller: &Caller,
    asked: &Authorize,
) -> Result<Result<AuthorizationStep, Problem>, Failure> {
    let id = asked
        .client_id
        .as_deref()
        .and_then(|id| Uuid::parse_str(id).ok());
    let application = match id {
        Some(id) => store::authorization::find_application(cx.db(), id).await?,
        None => None,
    };
    let Some(application) = application else {
        let why = "the program that sent you here is not registered";
        return Ok(Err(Problem::new(400, "client_unknown", why)));
    };
    let redirect_uri = match authorization::redirect_uri(asked, &application) {
        Ok(redirect_uri) => redirect_uri,
        Err(problem) => return Ok(Err(problem)),
    };
    // From here on whatever happens is for the program to know.
    let back = |pairs: &[(&str, &str)]| {
        let state = asked.state.as_deref();
        AuthorizationStep::Redirect {
            location: answer(&redirect_uri, &auth.issuer, state, pairs),
        }
    };
    let wish = match authorization::read(asked, &application, &redirect_uri) {
        Ok(wish) => wish,
        Err(refusal) => return Ok(Ok(back(&pairs_of(refusal)))),
    };
    Ok(Ok(
        match decide(cx, auth, caller, &application, &wish, asked).await? {
            Decision::Refused(refusal) => back(&pairs_of(refusal)),
            Decision::SignIn => AuthorizationStep::SignIn {
                since: stamp(cx, auth, &application, &wish).await?,
            },
            Decision::Ask => AuthorizationStep::AskConsent {
                client_name: application.name,
                client_host: host_of(&redirect_uri),
                wishes: in_words(&wish.scopes),
            },
            Decision::Granted(code) => back(&[("code", code.expose())]),
        },
    ))
}

fn pairs_of(refusal: Refusal) -> [(&'static str, &'static str); 2] {
    [
        ("error", refusal.error),
        ("error_description", refusal.description),
    ]
}

enum Decision {
    Refused(Refusal),
    SignIn,
    Ask,
    /// The code.
    Granted(Confidential),
}

/// What tells one question of a program from all others: each has a challenge of its own.
fn question(application: &Application, wish: &Wish) -> String {
    format!("authorize {} {}", application.id, wish.code_challenge)
}

/// By the database's clock, as the time when somebody signs in is.
async fn stamp(
    cx: &mut Cx,
    auth: &Auth,
    application: &Application,
    wish: &Wish,
) -> Result<String, Failure> {
    let now = store::authorization::load_now(cx.db()).await?;
    Ok(auth.links.stamp(now, &question(application, wish)))
}

/// Whether somebody has shown who they are as lately as the program wants.
fn is_fresh(
    wish: &Wish,
    authenticated_at: Timestamp,
    asked_at: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    // Whoever has signed in because of this very question need not do so again, however long the page took to come back.
    if asked_at.is_some_and(|asked_at| authenticated_at >= asked_at) {
        return true;
    }
    let age = now.duration_since(authenticated_at);
    let is_too_old = |max: u64| {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        age > SignedDuration::from_secs(max)
    };
    !wish.must_sign_in && !wish.max_age.is_some_and(is_too_old)
}

/// Whom the program expects (OpenID Connect Core 1.0, 3.1.2.1). What we have not signed, or with a key that is forgotten,
/// says nothing.
async fn expected(
    cx: &mut Cx,
    auth: &Auth,
    application: &Application,
    asked: &Authorize,
) -> Result<Option<Uuid>, Failure> {
    let Some(hint) = &asked.id_token_hint else {
        return Ok(None);
    };
    let Some(kid) = token::hint_key_id(hint.expose()) else {
        return Ok(None);
    };
    let key = store::revocations::find_public_key(cx.db(), &kid).await?;
    let client_id = application.id.to_string();
    Ok(key.and_then(|key| token::read_hint(hint.expose(), &key, &auth.issuer, &client_id)))
}

async fn decide(
    cx: &mut Cx,
    auth: &Auth,
    caller: &Caller,
    application: &Application,
    wish: &Wish,
    asked: &Authorize,
) -> Result<Decision, Failure> {
    let asked_at = asked.since.as_deref();
    let asked_at = asked_at.and_then(|it| auth.links.stamped_at(it, &question(application, wish)));
    let sign_in = || {
        if wish.is_silent {
            Decision::Refused(LOGIN_REQUIRED)
        } else {
            Decision::SignIn
        }
    };
    // Only who sits before one of our own pages can let somebody in: an app cannot let in another.
    let (Some(account_id), Some(session_id)) = (caller.account_id(), caller.session_id()) else {
        return Ok(sign_in());
    };
    let authentication = store::authorization::find_authentication(cx.db(), session_id).await?;
    let Some(authentication) = authentication else {
        return Ok(sign_in());
    };
    let now = store::authorization::load_now(cx.db()).await?;
    let authenticated_at = authentication.at();
    if !is_fresh(wish, authenticated_at, asked_at, now) {
        return Ok(sign_in());
    }
    if let Some(expected) = expected(cx, auth, application, asked).await?
        && expected != account_id
    {
        // Once they have signed in as somebody else, asking again would never end.
        let has_signed_in = asked_at.is_some_and(|asked_at| authenticated_at >= asked_at);
        return Ok(if has_signed_in {
            Decision::Refused(LOGIN_REQUIRED)
        } else {
            sign_in()
        });
    }
    match asked.consent {
        Some(false) => return Ok(Decision::Refused(DENIED)),
        Some(true) => {
            store::authorization::save_consent(cx.db(), account_id, application.id, &wish.scopes)
                .await?;
        }
        None => {
            let has_agreed = application.is_trusted
                || store::authorization::has_consented(
                    cx.db(),
                    account_id,
                    application.id,
                    &wish.scopes,
                )
                .await?;
            if (wish.must_ask || !has_agreed) && wish.is_silent {
                return Ok(Decision::Refused(CONSENT_REQUIRED));
            }
            if wish.must_ask || !has_agreed {
                return Ok(Decision::Ask);
            }
        }
    }
    let secret = secrets::new_secret()?;
    let code = Code::new(
        (application.id, account_id),
        wish.redirect_uri.clone(),
        wish.scopes.clone(),
        asked.nonce.clone(),
        wish.code_challenge.clone(),
        authentication,
    );
    let hash = secrets::hash(secret.expose());
    store::authorization::insert_code(cx.db(), &hash, &code).await?;
    tracing::info!(%account_id, client_id = %application.id, "let a program in");
    Ok(Decision::Granted(secret))
}
