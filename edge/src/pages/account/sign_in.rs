//! `/sign-in` and `/sign-out`.

use std::sync::Arc;

use askama::Template;
use axum::{
    http::{
        StatusCode,
        header::{RETRY_AFTER, SET_COOKIE},
    },
    response::Response,
};
use shopzen_contracts::{
    Confidential,
    auth::{
        accounts::{SignIn, SignInOutcome, SignOut},
        factors::{FactorMethod, FactorProof, FinishSignIn, SignInByPasskey},
        identities::{ListProviders, Provider},
    },
};

use super::{own_path, private, private_with_passkeys, see_other, step_up};
use crate::{
    pages::{
        assets::{PASSKEY_SCRIPT, STYLE_SHEET},
        form::OwnForm,
    },
    params::Params,
    problem::Refusal,
    request::Caller,
    session::{Attempt, Visitor, clear_cookie, set_cookie},
};

/// Where somebody goes who wanted to go nowhere in particular.
pub(crate) const HOME: &str = "/account";

#[derive(Template)]
#[template(path = "account/sign_in.html")]
struct Page {
    style_sheet: &'static str,
    passkey_script: &'static str,
    offers_passkeys: bool,
    complaints: Vec<String>,
    form_token: String,
    /// The script fills it in.
    ceremony: &'static str,
    return_to: String,
    email: String,
    providers: Vec<Provider>,
}

/// With whose accounts one can sign in. Whoever has a password can do without.
pub(crate) async fn providers(caller: &Caller) -> Vec<Provider> {
    let asked = caller.query_for(&ListProviders {}).await;
    asked.map(|providers| providers.items).unwrap_or_default()
}

/// Leads on to what may end at another site: a form may not, by our own policy, and a link may.
#[derive(Template)]
#[template(path = "account/onward.html")]
struct Onward<'a> {
    style_sheet: &'static str,
    target: &'a str,
}

pub(crate) fn onward(target: &str) -> Result<Response, Refusal> {
    private(
        StatusCode::OK,
        &Onward {
            style_sheet: &STYLE_SHEET,
            target,
        },
    )
}

pub(crate) async fn show(visitor: Visitor, mut params: Params) -> Result<Response, Refusal> {
    let wanted = params.text("return_to").unwrap_or_default();
    let email = params.text("login_hint").unwrap_or_default();
    let from = From {
        form_token: visitor.form_token(),
        offers_passkeys: visitor.caller.edge.offers_passkeys,
        return_to: own_path(&wanted).unwrap_or(HOME).to_owned(),
    };
    page(&visitor.caller, (StatusCode::OK, Vec::new()), from, email).await
}

/// Where somebody signs in from.
pub(super) struct From {
    pub(super) form_token: String,
    pub(super) offers_passkeys: bool,
    pub(super) return_to: String,
}

impl From {
    fn of(form: &mut OwnForm) -> Result<Self, Refusal> {
        let wanted = form.text("return_to")?;
        Ok(Self {
            form_token: form.visitor.form_token(),
            offers_passkeys: form.visitor.caller.edge.offers_passkeys,
            return_to: own_path(&wanted).unwrap_or(HOME).to_owned(),
        })
    }
}

async fn page(
    caller: &Caller,
    (status, complaints): (StatusCode, Vec<String>),
    from: From,
    email: String,
) -> Result<Response, Refusal> {
    let page = Page {
        style_sheet: &STYLE_SHEET,
        passkey_script: &PASSKEY_SCRIPT,
        offers_passkeys: from.offers_passkeys,
        complaints,
        form_token: from.form_token,
        ceremony: "",
        return_to: from.return_to,
        email,
        providers: providers(caller).await,
    };
    private_with_passkeys(status, &page)
}

pub(crate) async fn send(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    let (email, password) = (form.text("email")?, form.confidential("password")?);
    let from = From::of(&mut form)?;
    let attempt = SignIn {
        email: email.clone(),
        password,
        device: form.visitor.device.clone(),
        instead_of: form.visitor.cookie.clone(),
    };
    let outcome = form.visitor.caller.command_for(&attempt).await?;
    let refused = match outcome {
        SignInOutcome::SignedIn { session } => return signed_in(&form.visitor, &from, &session),
        SignInOutcome::SecondFactorNeeded { challenge, methods } => {
            return ask_second(from, &challenge, &methods);
        }
        other => refused(
            &other,
            "The address or the password is wrong, or the address is not confirmed yet.",
        ),
    };
    let (status, complaint, wait) = refused;
    let said = (status, vec![complaint]);
    waiting(page(&form.visitor.caller, said, from, email).await?, wait)
}

/// The sign-in goes on with one of these.
pub(super) fn ask_second(
    from: From,
    challenge: &Confidential,
    methods: &[FactorMethod],
) -> Result<Response, Refusal> {
    let has_passkey = methods.contains(&FactorMethod::Passkey);
    let from = From {
        offers_passkeys: from.offers_passkeys && has_passkey,
        ..from
    };
    second(from, challenge, (StatusCode::OK, Vec::new()))
}

/// Asks for the second factor: the sign-in goes on with it, and nobody is signed in before.
fn second(
    from: From,
    challenge: &Confidential,
    (status, complaints): (StatusCode, Vec<String>),
) -> Result<Response, Refusal> {
    let page = step_up::Page {
        style_sheet: &STYLE_SHEET,
        passkey_script: &PASSKEY_SCRIPT,
        offers_passkeys: from.offers_passkeys,
        complaints,
        form_token: from.form_token,
        title: "Second factor",
        text: "One thing more: show your second factor, within five minutes.",
        action: "/sign-in/second-factor",
        challenge: challenge.expose().to_owned(),
        ceremony: "",
        return_to: from.return_to,
    };
    private_with_passkeys(status, &page)
}

pub(crate) async fn send_factor(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    let challenge = form.confidential("challenge")?;
    let from = From::of(&mut form)?;
    let attempt = FinishSignIn {
        challenge: challenge.clone(),
        proof: step_up::proof(&mut form)?,
        device: form.visitor.device.clone(),
        instead_of: form.visitor.cookie.clone(),
    };
    let outcome = form.visitor.caller.command_for(&attempt).await?;
    if let SignInOutcome::SignedIn { session } = outcome {
        return signed_in(&form.visitor, &from, &session);
    }
    let why = "This is no second factor of yours, or was used already.";
    let (status, complaint, wait) = refused(&outcome, why);
    let complaints = vec![complaint];
    let response = match outcome {
        SignInOutcome::Ended => {
            let said = (status, complaints);
            page(&form.visitor.caller, said, from, String::new()).await?
        }
        _ => second(from, &challenge, (status, complaints))?,
    };
    waiting(response, wait)
}

pub(crate) async fn send_passkey(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    let from = From::of(&mut form)?;
    let FactorProof::Passkey(proof) = step_up::proof(&mut form)? else {
        return Err(Refusal::MalformedForm("credential is missing".to_owned()));
    };
    let attempt = SignInByPasskey {
        proof,
        device: form.visitor.device.clone(),
        instead_of: form.visitor.cookie.clone(),
    };
    let outcome = form.visitor.caller.command_for(&attempt).await?;
    if let SignInOutcome::SignedIn { session } = outcome {
        return signed_in(&form.visitor, &from, &session);
    }
    let (status, complaint, _) = refused(&outcome, "This passkey is none of an account here.");
    let said = (status, vec![complaint]);
    page(&form.visitor.caller, said, from, String::new()).await
}

fn signed_in(visitor: &Visitor, from: &From, session: &Confidential) -> Result<Response, Refusal> {
    let edge = &visitor.caller.edge;
    if let Some(before) = &visitor.cookie {
        edge.sessions.forget(before);
    }
    let mut response = if from.return_to.starts_with("/oauth2/") {
        onward(&from.return_to)?
    } else {
        see_other(&from.return_to)?
    };
    let cookie = set_cookie(session, edge.is_https);
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// What is said of an attempt that came to nothing, and after how many seconds to come back.
fn refused(outcome: &SignInOutcome, wrong: &str) -> (StatusCode, String, Option<u32>) {
    match outcome {
        SignInOutcome::Blocked { retry_after_s } => (
            StatusCode::TOO_MANY_REQUESTS,
            format!("Too many attempts have failed. Try again in {retry_after_s} seconds."),
            Some(*retry_after_s),
        ),
        SignInOutcome::Ended => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "That took too long. Begin again with your password.".to_owned(),
            None,
        ),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, wrong.to_owned(), None),
    }
}

fn waiting(mut response: Response, wait: Option<u32>) -> Result<Response, Refusal> {
    if let Some(seconds) = wait {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    Ok(response)
}

pub(crate) async fn sign_out(form: OwnForm) -> Result<Response, Refusal> {
    let Visitor {
        mut caller, cookie, ..
    } = form.visitor;
    let edge = Arc::clone(&caller.edge);
    if let Some(session) = cookie {
        edge.sessions.forget(&session);
        caller.command_for(&SignOut { session }).await?;
    }
    let mut response = see_other("/")?;
    let cookie = clear_cookie(edge.is_https);
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}
