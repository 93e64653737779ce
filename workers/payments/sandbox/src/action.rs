//! The page that stands for the bank's 3-D Secure check.

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use crate::api::AuthenticationBody;
use crate::charge::{Charge, Refusal, Status};
use crate::extract::Fields;
use crate::gateway::{Failure, Gateway};
use crate::problem::Problem;
use crate::values::ChargeId;

pub(crate) async fn show(
    State(gateway): State<Gateway>,
    id: ChargeId,
) -> Result<Response, Problem> {
    gateway
        .charge(id)
        .map(|charge| page(&charge))
        .ok_or(Refusal::UnknownCharge.into())
}

/// Takes the shopper's choice and shows what became of the payment. A second click, or a choice
/// that came too late, changes nothing and shows the same.
pub(crate) async fn submit(
    State(gateway): State<Gateway>,
    id: ChargeId,
    Fields(AuthenticationBody { result }): Fields<AuthenticationBody>,
) -> Result<Response, Response> {
    match gateway.authenticate(id, result).await {
        Ok(charge) => Ok(page(&charge)),
        Err(Failure::Refused(Refusal::InvalidState { .. })) => show(State(gateway), id)
            .await
            .map_err(IntoResponse::into_response),
        Err(failure) => Err(failure.into_response()),
    }
}

/// All that goes in is an id, a number, a code of three letters and a fixed word: there is nothing
/// to escape.
fn page(charge: &Charge) -> Response {
    let Charge {
        id,
        amount_minor,
        currency,
        ..
    } = charge;
    let rest = match charge.standing.status {
        Status::RequiresAction => {
            r#"<form method="post">
<button name="result" value="ok">Approve the payment</button>
<button name="result" value="failed">Fail the check</button>
</form>"#
        }
        Status::Declined => {
            "<p>The payment was <strong>declined</strong>. You can close this page.</p>"
        }
        Status::Voided => {
            "<p>The payment was <strong>voided</strong>. You can close this page.</p>"
        }
        Status::Authorised | Status::Captured => {
            "<p>The payment was <strong>approved</strong>. You can close this page.</p>"
        }
        Status::PartlyRefunded | Status::Refunded => {
            "<p>The payment was <strong>refunded</strong>. You can close this page.</p>"
        }
    };
    let html = format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sandbox bank: confirm your payment</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 4rem auto; padding: 0 1rem }}
button {{ font: inherit; padding: .5rem 1rem; margin-right: .5rem }}
</style>
<main>
<h1>Sandbox bank</h1>
<p>Payment <code>{id}</code> of {amount_minor} {currency} (minor units). No real money moves here.</p>
{rest}
</main>
</html>
"#
    );
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'";
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(html)).into_response()
}
