//! People let programs act for them.

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
        match decide(cx, caller, &application, &wish, asked).await? {
            Decision::Refused(refusal) => back(&pairs_of(refusal)),
            Decision::SignIn => AuthorizationStep::SignIn,
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

async fn decide(
    cx: &mut Cx,
    caller: &Caller,
    application: &Application,
    wish: &Wish,
    asked: &Authorize,
) -> Result<Decision, Failure> {
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
    let age = cx
        .now()
        .as_second()
        .saturating_sub(authentication.at().as_second());
    let is_too_old = |max: u64| u64::try_from(age).is_ok_and(|age| age > max);
    if wish.max_age.is_some_and(is_too_old) {
        return Ok(sign_in());
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
