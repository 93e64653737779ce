//! `/account/export` and `/account/erase`: all that is known of oneself, and the end of it.

use std::sync::Arc;

use askama::Template;
use axum::{
    http::{StatusCode, header::SET_COOKIE},
    response::Response,
};
use shopzen_contracts::auth::{accounts::PasswordOutcome, erasure::EraseMe};

use super::{complaints, message, own::SIGN_IN, private, see_other, step_up};
use crate::{
    api::me_data,
    pages::{assets::STYLE_SHEET, form::OwnForm},
    problem::{Refusal, blocked, password_wrong},
    session::{Attempt, Visitor, clear_cookie},
};

#[derive(Template)]
#[template(path = "account/erase.html")]
struct Page {
    style_sheet: &'static str,
    complaints: Vec<String>,
    form_token: String,
    email: String,
}

/// The file itself. No other site can read it, and to have it fetched tells nobody anything.
pub(crate) async fn export(visitor: Visitor) -> Result<Response, Refusal> {
    if visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    me_data::file_of(&visitor.caller).await
}

pub(crate) async fn ask(visitor: Visitor) -> Result<Response, Refusal> {
    render(&visitor, StatusCode::OK, Vec::new())
}

fn render(
    visitor: &Visitor,
    status: StatusCode,
    complaints: Vec<String>,
) -> Result<Response, Refusal> {
    let Some(session) = &visitor.session else {
        return see_other(SIGN_IN);
    };
    let page = Page {
        style_sheet: &STYLE_SHEET,
        complaints,
        form_token: visitor.form_token(),
        email: session.account.email.clone(),
    };
    private(status, &page)
}

pub(crate) async fn erase(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let wish = EraseMe {
        current_password: form.confidential("current_password")?,
    };
    let edge = Arc::clone(&form.visitor.caller.edge);
    let refusal = match form.visitor.caller.command_for(&wish).await {
        Ok(PasswordOutcome::Accepted) => {
            if let Some(cookie) = &form.visitor.cookie {
                edge.sessions.forget(cookie);
            }
            let mut response = message(
                "Your account is erased",
                "All that we knew of you is gone, or going right now. We send no letter about it, as we know nowhere to send one.",
                ("/", "Back to the shop"),
            )?;
            let cookie = clear_cookie(edge.is_https);
            response.headers_mut().insert(SET_COOKIE, cookie);
            return Ok(response);
        }
        Ok(PasswordOutcome::Wrong) => password_wrong(),
        Ok(PasswordOutcome::Blocked { retry_after_s }) => blocked(retry_after_s),
        Err(refusal) => refusal,
    };
    let refusal = match step_up::first(refusal, "/account/erase") {
        Ok(leads_there) => return Ok(leads_there),
        Err(refusal) => refusal,
    };
    let (status, complaints) = complaints(refusal)?;
    render(&form.visitor, status, complaints)
}
