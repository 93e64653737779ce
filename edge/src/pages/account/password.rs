//! `/reset-password` and `/new-password`.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use shopzen_contracts::auth::accounts::{RequestPasswordReset, ResetPassword};

use super::{complaints, message, private};
use crate::{
    pages::{assets::STYLE_SHEET, form::OwnForm},
    params::Params,
    problem::Refusal,
    session::{Attempt, Visitor},
};

#[derive(Template)]
#[template(path = "account/reset_password.html")]
struct Reset {
    style_sheet: &'static str,
    complaints: Vec<String>,
    form_token: String,
    email: String,
}

pub(crate) async fn show(visitor: Visitor) -> Result<Response, Refusal> {
    let page = Reset {
        style_sheet: &STYLE_SHEET,
        complaints: Vec::new(),
        form_token: visitor.form_token(),
        email: String::new(),
    };
    private(StatusCode::OK, &page)
}

pub(crate) async fn send(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    let email = form.text("email")?;
    let form_token = form.visitor.form_token();
    let wish = RequestPasswordReset {
        email: email.clone(),
    };
    match form.visitor.caller.command_for(&wish).await {
        Ok(_) => message(
            "Look into your mail",
            "If there is an account with this address, we have sent it a link. It is good for half an hour.",
            ("/sign-in", "Sign in"),
        ),
        Err(refusal) => {
            let (status, complaints) = complaints(refusal)?;
            let page = Reset {
                style_sheet: &STYLE_SHEET,
                complaints,
                form_token,
                email,
            };
            private(status, &page)
        }
    }
}

#[derive(Template)]
#[template(path = "account/new_password.html")]
struct NewPassword {
    style_sheet: &'static str,
    complaints: Vec<String>,
    form_token: String,
    token: String,
}

pub(crate) async fn ask_for_new(visitor: Visitor, mut params: Params) -> Result<Response, Refusal> {
    let page = NewPassword {
        style_sheet: &STYLE_SHEET,
        complaints: Vec::new(),
        form_token: visitor.form_token(),
        token: params.text("token").unwrap_or_default(),
    };
    private(StatusCode::OK, &page)
}

pub(crate) async fn set_new(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    let token = form.confidential("token")?;
    let form_token = form.visitor.form_token();
    let wish = ResetPassword {
        token: token.clone(),
        password: form.confidential("password")?,
    };
    match form.visitor.caller.command_for(&wish).await {
        Ok(_) => message(
            "It is set",
            "You have a new password, and are signed out everywhere.",
            ("/sign-in", "Sign in"),
        ),
        Err(refusal) => {
            let (status, complaints) = complaints(refusal)?;
            let page = NewPassword {
                style_sheet: &STYLE_SHEET,
                complaints,
                form_token,
                token: token.expose().to_owned(),
            };
            private(status, &page)
        }
    }
}
