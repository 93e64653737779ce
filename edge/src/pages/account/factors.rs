//! `/account/security`: one's own second factors.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use qrcode::{QrCode, render::svg};
use serde_json::Value;
use shopzen_contracts::{
    Confidential,
    auth::factors::{
        AddPasskey, AddTotp, ConfirmTotp, FactorAdded, Factors, ListFactors, PasskeyStarted,
        RecoveryCodes, RemovePasskey, RemoveTotp, RenamePasskey, RenewRecoveryCodes, StartPasskey,
        TotpAdded,
    },
};
use uuid::Uuid;

use super::{complaints, private, private_with_passkeys, see_other, step_up};
use crate::{
    pages::{
        assets::{PASSKEY_SCRIPT, STYLE_SHEET},
        form::OwnForm,
    },
    problem::{Refusal, blocked, factor_wrong, password_wrong},
    request::Named,
    session::{Attempt, Visitor},
};

const HOME: &str = "/account/security";
const SIGN_IN: &str = "/sign-in?return_to=/account/security";
/// Pixels of a code's sides at the least.
const QR_SIDE_MIN: u32 = 220;

#[derive(Template)]
#[template(path = "account/security.html")]
struct Page {
    style_sheet: &'static str,
    complaints: Vec<String>,
    form_token: String,
    email: String,
    factors: Factors,
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
    let factors = visitor.caller.query_for(&ListFactors {}).await?;
    let page = Page {
        style_sheet: &STYLE_SHEET,
        complaints,
        form_token,
        email: session.account.email,
        factors,
    };
    private(status, &page)
}

/// The page once more with what is wrong, or first the one for the second factor.
async fn refused(visitor: Visitor, refusal: Refusal) -> Result<Response, Refusal> {
    let refusal = match step_up::first(refusal, HOME) {
        Ok(leads_there) => return Ok(leads_there),
        Err(refusal) => refusal,
    };
    let (status, complaints) = complaints(refusal)?;
    render(visitor, status, complaints).await
}

#[derive(Template)]
#[template(path = "account/recovery_codes.html")]
struct Codes {
    style_sheet: &'static str,
    codes: Vec<Confidential>,
}

/// The codes, where there are new ones.
fn shown(codes: RecoveryCodes) -> Result<Response, Refusal> {
    if codes.recovery_codes.is_empty() {
        return see_other(HOME);
    }
    let page = Codes {
        style_sheet: &STYLE_SHEET,
        codes: codes.recovery_codes,
    };
    private(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "account/new_totp.html")]
struct NewTotp {
    style_sheet: &'static str,
    complaints: Vec<String>,
    form_token: String,
    secret: String,
    uri: String,
    /// A drawing.
    qr: String,
}

fn new_totp(
    form_token: String,
    (secret, uri): (&Confidential, &Confidential),
    (status, complaints): (StatusCode, Vec<String>),
) -> Result<Response, Refusal> {
    let page = NewTotp {
        style_sheet: &STYLE_SHEET,
        complaints,
        form_token,
        secret: secret.expose().to_owned(),
        uri: uri.expose().to_owned(),
        qr: drawn(uri.expose()),
    };
    private(status, &page)
}

/// As something to photograph; nothing where it is too long for that.
fn drawn(text: &str) -> String {
    let Ok(code) = QrCode::new(text) else {
        return String::new();
    };
    let drawing = code
        .render::<svg::Color<'_>>()
        .min_dimensions(QR_SIDE_MIN, QR_SIDE_MIN)
        .build();
    // What comes before is for a file of its own.
    let start = drawing.find("<svg").unwrap_or_default();
    drawing[start..].to_owned()
}

pub(crate) async fn add_totp(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let wish = AddTotp {
        current_password: form.confidential("current_password")?,
    };
    let refusal = match form.visitor.caller.command_for(&wish).await {
        Ok(TotpAdded::Accepted(it)) => {
            let form_token = form.visitor.form_token();
            let well = (StatusCode::OK, Vec::new());
            return new_totp(form_token, (&it.secret, &it.uri), well);
        }
        Ok(TotpAdded::Wrong) => password_wrong(),
        Ok(TotpAdded::Blocked { retry_after_s }) => blocked(retry_after_s),
        Err(refusal) => refusal,
    };
    refused(form.visitor, refusal).await
}

pub(crate) async fn confirm_totp(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let (secret, uri) = (form.confidential("secret")?, form.confidential("uri")?);
    let wish = ConfirmTotp {
        code: form.confidential("code")?,
    };
    let refusal = match form.visitor.caller.command_for(&wish).await? {
        FactorAdded::Accepted(codes) => return shown(codes),
        FactorAdded::Wrong => factor_wrong(),
        FactorAdded::Blocked { retry_after_s } => blocked(retry_after_s),
    };
    let form_token = form.visitor.form_token();
    new_totp(form_token, (&secret, &uri), complaints(refusal)?)
}

pub(crate) async fn remove_totp(mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    match form.visitor.caller.command_for(&RemoveTotp {}).await {
        Ok(_) => see_other(HOME),
        Err(refusal) => refused(form.visitor, refusal).await,
    }
}

pub(crate) async fn renew_codes(mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let renew = form.visitor.caller.command_for(&RenewRecoveryCodes {});
    match renew.await {
        Ok(codes) => shown(codes),
        Err(refusal) => refused(form.visitor, refusal).await,
    }
}

#[derive(Template)]
#[template(path = "account/new_passkey.html")]
struct NewPasskey {
    style_sheet: &'static str,
    passkey_script: &'static str,
    form_token: String,
    name: String,
    ceremony: String,
    /// JSON, for the script.
    options: String,
}

pub(crate) async fn start_passkey(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let name = form.text("name")?;
    let wish = StartPasskey {
        current_password: form.confidential("current_password")?,
    };
    let refusal = match form.visitor.caller.command_for(&wish).await {
        Ok(PasskeyStarted::Accepted(asked)) => {
            let page = NewPasskey {
                style_sheet: &STYLE_SHEET,
                passkey_script: &PASSKEY_SCRIPT,
                form_token: form.visitor.form_token(),
                name,
                ceremony: asked.ceremony.expose().to_owned(),
                options: asked.options.to_string(),
            };
            return private_with_passkeys(StatusCode::OK, &page);
        }
        Ok(PasskeyStarted::Wrong) => password_wrong(),
        Ok(PasskeyStarted::Blocked { retry_after_s }) => blocked(retry_after_s),
        Err(refusal) => refusal,
    };
    refused(form.visitor, refusal).await
}

pub(crate) async fn add_passkey(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let credential = form.text("credential")?;
    let wish = AddPasskey {
        name: form.text("name")?,
        ceremony: form.confidential("ceremony")?,
        // What cannot be read is no passkey, and the worker says so.
        credential: serde_json::from_str(&credential).unwrap_or(Value::Null),
    };
    let refusal = match form.visitor.caller.command_for(&wish).await {
        Ok(FactorAdded::Accepted(codes)) => return shown(codes),
        Ok(FactorAdded::Wrong) => factor_wrong(),
        Ok(FactorAdded::Blocked { retry_after_s }) => blocked(retry_after_s),
        Err(refusal) => refusal,
    };
    refused(form.visitor, refusal).await
}

pub(crate) async fn rename_passkey(
    Named(id): Named<Uuid>,
    mut form: OwnForm,
) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let name = form.text("name")?;
    let rename = RenamePasskey { id, name };
    match form.visitor.caller.command_for(&rename).await {
        Ok(_) => see_other(HOME),
        Err(refusal) => refused(form.visitor, refusal).await,
    }
}

pub(crate) async fn remove_passkey(
    Named(id): Named<Uuid>,
    mut form: OwnForm,
) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    match form.visitor.caller.command_for(&RemovePasskey { id }).await {
        Ok(_) => see_other(HOME),
        Err(refusal) => refused(form.visitor, refusal).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_reads_is_drawn_without_anything_that_our_policy_forbids() {
        let drawing = drawn("otpauth://totp/shop.example:ada%40lovelace.example?secret=GEZDGNBV");
        assert!(drawing.starts_with("<svg ") && drawing.ends_with("</svg>"));
        assert!(!drawing.contains("style") && !drawing.contains("<script"));
        assert_eq!(drawn(&"x".repeat(5_000)), "");
    }
}
