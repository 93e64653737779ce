//! `/sign-up` and `/confirm-email`.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use shopzen_contracts::auth::accounts::{ConfirmEmail, Register};

use super::{complaints, message, private};
use crate::{
    pages::{assets::STYLE_SHEET, form::OwnForm},
    params::Params,
    problem::Refusal,
    session::{Attempt, Visitor},
};

#[derive(Template)]
#[template(path = "account/sign_up.html")]
struct SignUp {
    style_sheet: &'static str,
    complaints: Vec<String>,
    form_token: String,
    name: String,
    email: String,
}

pub(crate) async fn show(visitor: Visitor) -> Result<Response, Refusal> {
    let page = SignUp {
        style_sheet: &STYLE_SHEET,
        complaints: Vec::new(),
        form_token: visitor.form_token(),
        name: String::new(),
        email: String::new(),
    };
    private(StatusCode::OK, &page)
}

pub(crate) async fn send(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    let (name, email) = (form.text("name")?, form.text("email")?);
    let wish = Register {
        email: email.clone(),
        password: form.confidential("password")?,
        name: name.clone(),
    };
    let form_token = form.visitor.form_token();
    match form.visitor.caller.command_for(&wish).await {
        Ok(_) => message(
            "Look into your mail",
            "We have written to you. Follow the link in the letter within half an hour, and your account is there.",
            ("/sign-in", "Sign in"),
        ),
        Err(refusal) => {
            let (status, complaints) = complaints(refusal)?;
            let page = SignUp {
                style_sheet: &STYLE_SHEET,
                complaints,
                form_token,
                name,
                email,
            };
            private(status, &page)
        }
    }
}

/// Mail programs look at what links lead to; so the link itself does nothing, and a person has to say yes.
#[derive(Template)]
#[template(path = "account/confirm_email.html")]
struct Confirm {
    style_sheet: &'static str,
    complaints: Vec<String>,
    form_token: String,
    token: String,
}

pub(crate) async fn ask_to_confirm(
    visitor: Visitor,
    mut params: Params,
) -> Result<Response, Refusal> {
    let page = Confirm {
        style_sheet: &STYLE_SHEET,
        complaints: Vec::new(),
        form_token: visitor.form_token(),
        token: params.text("token").unwrap_or_default(),
    };
    private(StatusCode::OK, &page)
}

pub(crate) async fn confirm(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    let token = form.confidential("token")?;
    let form_token = form.visitor.form_token();
    let confirm = ConfirmEmail {
        token: token.clone(),
    };
    match form.visitor.caller.command_for(&confirm).await {
        Ok(confirmed) if confirmed.email.is_none() => message(
            "One more letter",
            "This address has agreed. Follow the link that was sent to the other one as well.",
            ("/", "Back to the shop"),
        ),
        Ok(_) => message(
            "Confirmed",
            "This address is yours. You can sign in with it.",
            ("/sign-in", "Sign in"),
        ),
        Err(refusal) => {
            let (status, complaints) = complaints(refusal)?;
            let page = Confirm {
                style_sheet: &STYLE_SHEET,
                complaints,
                form_token,
                token: token.expose().to_owned(),
            };
            private(status, &page)
        }
    }
}
