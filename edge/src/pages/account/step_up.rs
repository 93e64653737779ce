//! `/account/step-up`: a second factor, shown once more before what matters.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use shopzen_contracts::auth::factors::{FactorOutcome, FactorProof, PasskeyProof, StepUp};

use super::{complaints, own_path, private_with_passkeys, see_other};
use crate::{
    pages::{
        assets::{PASSKEY_SCRIPT, STYLE_SHEET},
        form::OwnForm,
    },
    params::Params,
    problem::{Refusal, blocked, factor_wrong},
    session::{Attempt, Visitor},
};

/// Characters of a code that an app shows.
const CODE_LENGTH: usize = 6;
/// Where somebody goes who wanted to go nowhere in particular.
const HOME: &str = "/account/security";

/// Asks for a second factor, wherever it is needed.
#[derive(Template)]
#[template(path = "account/second_factor.html")]
pub(super) struct Page {
    pub(super) style_sheet: &'static str,
    pub(super) passkey_script: &'static str,
    pub(super) offers_passkeys: bool,
    pub(super) complaints: Vec<String>,
    pub(super) form_token: String,
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    pub(super) action: &'static str,
    pub(super) challenge: String,
    /// The script fills it in.
    pub(super) ceremony: &'static str,
    pub(super) return_to: String,
}

/// What was shown on such a page: a passkey, or a code of either kind.
pub(super) fn proof(form: &mut OwnForm) -> Result<FactorProof, Refusal> {
    let (ceremony, credential) = (form.confidential("ceremony")?, form.text("credential")?);
    if !credential.is_empty() {
        // What cannot be read shows nothing, and the worker says so.
        let credential = serde_json::from_str(&credential).unwrap_or(Value::Null);
        return Ok(FactorProof::Passkey(PasskeyProof {
            ceremony,
            credential,
        }));
    }
    let code = form.confidential("code")?;
    let plain = code.expose().chars().filter(|it| !it.is_whitespace());
    let is_of_app = plain.clone().count() == CODE_LENGTH && plain.clone().all(char::is_numeric);
    Ok(if is_of_app {
        FactorProof::Totp { code }
    } else {
        FactorProof::RecoveryCode { code }
    })
}

/// Leads there whoever has to, and anybody else's refusal back.
pub(super) fn first(refusal: Refusal, return_to: &str) -> Result<Response, Refusal> {
    match refusal {
        Refusal::Worker(problem) if problem.code == "step_up_required" => {
            let back = utf8_percent_encode(return_to, NON_ALPHANUMERIC);
            see_other(&format!("/account/step-up?return_to={back}"))
        }
        other => Err(other),
    }
}

fn render(
    visitor: &Visitor,
    return_to: &str,
    (status, complaints): (StatusCode, Vec<String>),
) -> Result<Response, Refusal> {
    let page = Page {
        style_sheet: &STYLE_SHEET,
        passkey_script: &PASSKEY_SCRIPT,
        offers_passkeys: visitor.caller.edge.offers_passkeys,
        complaints,
        form_token: visitor.form_token(),
        title: "Is it you?",
        text: "What you want to do needs your second factor once more.",
        action: "/account/step-up",
        challenge: String::new(),
        ceremony: "",
        return_to: return_to.to_owned(),
    };
    private_with_passkeys(status, &page)
}

pub(crate) async fn show(visitor: Visitor, mut params: Params) -> Result<Response, Refusal> {
    let wanted = params.text("return_to").unwrap_or_default();
    let return_to = own_path(&wanted).unwrap_or(HOME);
    if visitor.session.is_none() {
        return see_other("/sign-in?return_to=/account/security");
    }
    render(&visitor, return_to, (StatusCode::OK, Vec::new()))
}

pub(crate) async fn send(_: Attempt, mut form: OwnForm) -> Result<Response, Refusal> {
    let wanted = form.text("return_to")?;
    let return_to = own_path(&wanted).unwrap_or(HOME);
    if form.visitor.session.is_none() {
        return see_other("/sign-in?return_to=/account/security");
    }
    let proof = proof(&mut form)?;
    let refusal = match form.visitor.caller.command_for(&StepUp { proof }).await? {
        FactorOutcome::Accepted => return see_other(return_to),
        FactorOutcome::Wrong => factor_wrong(),
        FactorOutcome::Blocked { retry_after_s } => blocked(retry_after_s),
    };
    render(&form.visitor, return_to, complaints(refusal)?)
}
