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
use shopzen_contracts::auth::{
    accounts::{SignIn, SignInOutcome, SignOut},
    identities::{ListProviders, Provider},
};

use super::{own_path, private, see_other};
use crate::{
    pages::{assets::STYLE_SHEET, form::OwnForm},
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
    complaints: Vec<String>,
    form_token: String,
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
    let page = Page {
        style_sheet: &STYLE_SHEET,
        complaints: Vec::new(),
        form_token: visitor.form_token(),
        return_to: own_path(&wanted).unwrap_or(HOME).to_owned(),
        email: params.text("login_hint").unwrap_or_default(),
        providers: providers(&visitor.caller).await,
    };
    private(StatusCode::OK, &page)
}

pub(crate) async fn send(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    let (email, password) = (form.text("email")?, form.confidential("password")?);
    let wanted = form.text("return_to")?;
    let return_to = own_path(&wanted).unwrap_or(HOME);
    let Visitor {
        mut caller,
        cookie,
        device,
        ..
    } = form.visitor;
    let attempt = SignIn {
        email: email.clone(),
        password,
        device,
        instead_of: cookie.clone(),
    };
    let edge = Arc::clone(&caller.edge);
    let (status, complaint, wait) = match caller.command_for(&attempt).await? {
        SignInOutcome::SignedIn { session } => {
            if let Some(before) = &cookie {
                edge.sessions.forget(before);
            }
            let mut response = if return_to.starts_with("/oauth2/") {
                onward(return_to)?
            } else {
                see_other(return_to)?
            };
            let cookie = set_cookie(&session, edge.is_https);
            response.headers_mut().insert(SET_COOKIE, cookie);
            return Ok(response);
        }
        SignInOutcome::Wrong => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The address or the password is wrong, or the address is not confirmed yet.".to_owned(),
            None,
        ),
        SignInOutcome::Blocked { retry_after_s } => (
            StatusCode::TOO_MANY_REQUESTS,
            format!("Too many attempts have failed. Try again in {retry_after_s} seconds."),
            Some(retry_after_s),
        ),
    };
    let page = Page {
        style_sheet: &STYLE_SHEET,
        complaints: vec![complaint],
        form_token: cookie
            .as_ref()
            .map(crate::session::form_token)
            .unwrap_or_default(),
        return_to: return_to.to_owned(),
        email,
        providers: providers(&caller).await,
    };
    let mut response = private(status, &page)?;
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
