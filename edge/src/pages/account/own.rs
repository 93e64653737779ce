//! `/account`: one's own.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use shopzen_contracts::auth::{
    accounts::{Account, ChangePassword, EndSession, ListSessions, PasswordOutcome, Session},
    identities::{Identities, ListIdentities, Provider},
};
use uuid::Uuid;

use super::{complaints, message, private, see_other, sign_in, step_up};
use crate::{
    pages::{assets::STYLE_SHEET, form::OwnForm},
    problem::{Refusal, blocked, password_wrong},
    request::Named,
    session::{Attempt, Visitor},
};

pub(super) const SIGN_IN: &str = "/sign-in?return_to=/account";

#[derive(Template)]
#[template(path = "account/account.html")]
struct Page {
    style_sheet: &'static str,
    complaints: Vec<String>,
    form_token: String,
    account: Account,
    sessions: Vec<Session>,
    identities: Identities,
    providers: Vec<Provider>,
}

pub(crate) async fn show(visitor: Visitor) -> Result<Response, Refusal> {
    render(visitor, StatusCode::OK, Vec::new()).await
}

async fn render(
    visitor: Visitor,
    status: StatusCode,
    complaints: Vec<String>,
) -> Result<Response, Refusal> {
    let form_token = visitor.form_token();
    let Some(session) = visitor.session else {
        return see_other(SIGN_IN);
    };
    let sessions = visitor.caller.query_for(&ListSessions {}).await?;
    let identities = visitor.caller.query_for(&ListIdentities {}).await?;
    let page = Page {
        style_sheet: &STYLE_SHEET,
        complaints,
        form_token,
        account: session.account,
        sessions: sessions.items,
        identities,
        providers: sign_in::providers(&visitor.caller).await,
    };
    private(status, &page)
}

pub(crate) async fn end_session(
    Named(id): Named<Uuid>,
    mut form: OwnForm,
) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    form.visitor.caller.command_for(&EndSession { id }).await?;
    if let Some(cookie) = &form.visitor.cookie {
        // It may have been this one.
        form.visitor.caller.edge.sessions.forget(cookie);
    }
    see_other("/account")
}

pub(crate) async fn change_password(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let wish = ChangePassword {
        current_password: form.confidential("current_password")?,
        password: form.confidential("password")?,
    };
    let refusal = match form.visitor.caller.command_for(&wish).await {
        Ok(PasswordOutcome::Accepted) => {
            return message(
                "It is changed",
                "You have a new password, and are signed out everywhere else.",
                ("/account", "Your account"),
            );
        }
        Ok(PasswordOutcome::Wrong) => password_wrong(),
        Ok(PasswordOutcome::Blocked { retry_after_s }) => blocked(retry_after_s),
        Err(refusal) => refusal,
    };
    let refusal = match step_up::first(refusal, "/account") {
        Ok(leads_there) => return Ok(leads_there),
        Err(refusal) => refusal,
    };
    let (status, complaints) = complaints(refusal)?;
    render(form.visitor, status, complaints).await
}
