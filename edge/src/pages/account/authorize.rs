//! `/oauth2/authorize`: people let programs act for them.
//!
//! Who is not signed in does that first and comes back. What the program has asked for stays in the address all the while, so
//! there is nothing to remember.

use askama::Template;
use axum::{extract::RawQuery, http::StatusCode, response::Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use shopzen_contracts::auth::authorization::{AUTHORIZATION_PATH, AuthorizationStep, Authorize};

use super::{private, see_other, sign_in::onward};
use crate::{
    pages::{assets::STYLE_SHEET, form::OwnForm},
    params::Params,
    problem::Refusal,
    session::Visitor,
};

#[derive(Template)]
#[template(path = "account/consent.html")]
struct Consent {
    style_sheet: &'static str,
    form_token: String,
    /// What the program has asked for, as it stood in the address.
    query: String,
    client_name: String,
    client_host: String,
    email: String,
    wishes: Vec<String>,
}

pub(crate) async fn show(
    mut visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let query = query.unwrap_or_default();
    let mut asked = read(&query)?;
    let wants_login = take_login(&mut asked);
    let step = visitor.caller.command_for(&asked).await?;
    match step {
        // They have just to show who they are, whoever they are: whatever the answer would be then.
        AuthorizationStep::AskConsent { .. } if wants_login => sign_in(&query),
        AuthorizationStep::Redirect { location } if wants_login && has_code(location.expose()) => {
            sign_in(&query)
        }
        AuthorizationStep::SignIn => sign_in(&query),
        AuthorizationStep::Redirect { location } => see_other(location.expose()),
        AuthorizationStep::AskConsent {
            client_name,
            client_host,
            wishes,
        } => {
            let email = visitor.session.as_ref().map(|it| it.account.email.clone());
            let page = Consent {
                style_sheet: &STYLE_SHEET,
                form_token: visitor.form_token(),
                query,
                client_name,
                client_host,
                email: email.unwrap_or_default(),
                wishes,
            };
            private(StatusCode::OK, &page)
        }
    }
}

fn has_code(location: &str) -> bool {
    location.contains("?code=") || location.contains("&code=")
}

/// Without `prompt=login`, which is heeded by it: whoever comes back has signed in.
fn sign_in(query: &str) -> Result<Response, Refusal> {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| *pair != "prompt=login")
        .collect();
    let back = format!("{AUTHORIZATION_PATH}?{}", kept.join("&"));
    let back = utf8_percent_encode(&back, NON_ALPHANUMERIC);
    see_other(&format!("/sign-in?return_to={back}"))
}

/// Whether they have to show who they are once more (OpenID Connect Core 1.0, 3.1.2.1).
fn take_login(asked: &mut Authorize) -> bool {
    asked.prompt.as_deref() == Some("login")
}

fn read(query: &str) -> Result<Authorize, Refusal> {
    let mut params = Params::parse(query)?;
    // What nobody knows is left alone (RFC 6749, 3.1); what stands there twice is refused below.
    let mut text = |name: &str| params.text(name);
    let asked = Authorize {
        client_id: text("client_id"),
        redirect_uri: text("redirect_uri"),
        response_type: text("response_type"),
        scope: text("scope"),
        state: text("state"),
        nonce: text("nonce"),
        code_challenge: text("code_challenge"),
        code_challenge_method: text("code_challenge_method"),
        prompt: text("prompt"),
        max_age: text("max_age"),
        consent: None,
    };
    params.finish_known()?;
    Ok(asked)
}

pub(crate) async fn answer(mut form: OwnForm) -> Result<Response, Refusal> {
    let query = form.text("query")?;
    if form.visitor.session.is_none() {
        return sign_in(&query);
    }
    let mut asked = read(&query)?;
    asked.consent = Some(form.text("answer")? == "yes");
    match form.visitor.caller.command_for(&asked).await? {
        AuthorizationStep::Redirect { location } => onward(location.expose()),
        AuthorizationStep::SignIn | AuthorizationStep::AskConsent { .. } => sign_in(&query),
    }
}
