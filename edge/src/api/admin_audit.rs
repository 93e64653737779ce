//! `/api/v1/admin/audit`: whether what must always be true is true.

use axum::{http::StatusCode, response::Response};
use shopzen_contracts::audit::{AuditReport, GetReport};

use crate::{answer, openapi::Operation, params::Params, problem::Refusal, request::Caller};

pub(crate) const GET: Operation = Operation::query::<GetReport>(
    "getAudit",
    "staff",
    "What the audit found",
)
.explains(
    "The last round of the audit that runs all the time: each invariant, and what breaks it. \
         `completed_at` says how old that is.",
)
.answers::<AuditReport>(200, "The report.");

pub(crate) async fn get(caller: Caller, params: Params) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&GetReport {}).await?;
    Ok(answer::json(StatusCode::OK, body))
}
