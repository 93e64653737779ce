//! `/oauth2/authorize`: people let programs act for them.
//!
//! Who is not signed in does that first and comes back. What the program has asked for stays in the address all the while, so
//! there is nothing to remember.

use askama::Template;
use axum::{
    extract::{RawQuery, Request},
    http::StatusCode,
    response::Response,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use shopzen_contracts::{
    Confidential,
    auth::authorization::{AUTHORIZATION_PATH, AuthorizationStep, Authorize},
};

use super::{private, see_other, sign_in::onward};
use crate::{
    form,
    pages::{assets::STYLE_SHEET, form::OwnForm},
    params::Params,
    problem::Refusal,
    session::Visitor,
};

/// Where the answer to the question goes. Not the same address: there other sites' forms arrive.
pub(crate) const CONSENT_PATH: &str = "/oauth2/consent";
/// What a program asks for has to fit into an address.
const QUERY_BYTES_MAX: usize = 8 * 1024;

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

/// Programs may send people by a form as well (OpenID Connect Core 1.0, 3.1.2.1). It is led on to the same page by GET: the
/// form was another site's, and with such a browser sends no `Lax` cookie, so here it would look as if nobody were signed in.
pub(crate) async fn posted(request: Request) -> Result<Response, Refusal> {
    let body = form::text_of(request).await?;
    if body.len() > QUERY_BYTES_MAX {
        return Err(Refusal::BodyTooLarge(QUERY_BYTES_MAX));
    }
    // Read here already, so that what nobody could read is not led on.
    read(&body)?;
    see_other(&format!("{AUTHORIZATION_PATH}?{body}"))
}

pub(crate) async fn show(
    mut visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let query = query.unwrap_or_default();
    let (asked, login_hint) = read(&query)?;
    match visitor.caller.command_for(&asked).await? {
        AuthorizationStep::SignIn { since } => sign_in(&query, &since, login_hint.as_deref()),
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

/// With the address that the program thinks is theirs (OpenID Connect Core 1.0, 3.1.2.1, `login_hint`), and a way back that
/// says since when they have been asked.
fn sign_in(query: &str, since: &str, login_hint: Option<&str>) -> Result<Response, Refusal> {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("since="))
        .collect();
    let back = format!("{AUTHORIZATION_PATH}?{}&since={since}", kept.join("&"));
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let hint = login_hint.map_or_else(String::new, |hint| format!("&login_hint={}", encoded(hint)));
    see_other(&format!("/sign-in?return_to={}{hint}", encoded(&back)))
}

/// What is asked, and `login_hint`, which is for the page alone.
fn read(query: &str) -> Result<(Authorize, Option<String>), Refusal> {
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
        response_mode: text("response_mode"),
        id_token_hint: text("id_token_hint").map(Confidential::new),
        request: text("request"),
        request_uri: text("request_uri"),
        registration: text("registration"),
        since: text("since"),
        consent: None,
    };
    let login_hint = text("login_hint");
    params.finish_known()?;
    Ok((asked, login_hint))
}

pub(crate) async fn answer(mut form: OwnForm) -> Result<Response, Refusal> {
    let query = form.text("query")?;
    let (mut asked, login_hint) = read(&query)?;
    asked.consent = Some(form.text("answer")? == "yes");
    match form.visitor.caller.command_for(&asked).await? {
        AuthorizationStep::Redirect { location } => onward(location.expose()),
        AuthorizationStep::SignIn { since } => sign_in(&query, &since, login_hint.as_deref()),
        // It was said just now; whatever this is, the page says.
        AuthorizationStep::AskConsent { .. } => see_other(&format!("{AUTHORIZATION_PATH}?{query}")),
    }
}
