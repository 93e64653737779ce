//! `/api/v1/me/export` and `DELETE /api/v1/me`: all that is known of oneself, and the end of it.

use axum::{
    http::{HeaderValue, StatusCode, header::CONTENT_DISPOSITION},
    response::Response,
};
use schemars::JsonSchema;
use serde::Serialize;
use shopzen_contracts::{
    auth::erasure::{EraseMe, ExportMe, ExportedAccount},
    notify::{ListOwnMails, Mail},
    orders::{ExportOrders, ExportedOrder},
};

use super::me::by_password;
use crate::{
    answer,
    openapi::Operation,
    params::Params,
    problem::Refusal,
    request::{Caller, JsonBody},
    session::Attempt,
};

/// What the file says of its form. Another form has another number.
const FORMAT: &str = "shopzen-export-1";
/// Pages of orders and of mails: thousands of either.
const PAGES_MAX: usize = 500;

/// All that the shop knows of somebody.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Export {
    /// `shopzen-export-1`.
    format: &'static str,
    /// Whether it is all. Of somebody with very many orders or mails it has the newest.
    is_complete: bool,
    #[serde(flatten)]
    account: ExportedAccount,
    orders: Vec<ExportedOrder>,
    mails: Vec<Mail>,
}

pub(crate) const EXPORT: Operation =
    Operation::query::<ExportMe>("exportMe", "accounts", "All one's own data as one file")
        .explains(
            "Needs `orders:read` besides. Links that let somebody in are left out of the mails.",
        )
        .answers::<Export>(200, "The file.")
        .refuses(&[404]);

pub(crate) async fn export(caller: Caller, params: Params) -> Result<Response, Refusal> {
    params.finish()?;
    file_of(&caller).await
}

/// Everything in one file, as a download.
pub(crate) async fn file_of(caller: &Caller) -> Result<Response, Refusal> {
    let account = caller.query_for(&ExportMe {}).await?;
    let (mut orders, mut mails) = (Vec::new(), Vec::new());
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let page = caller.query_for(&ExportOrders { cursor }).await?;
        orders.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let mut is_complete = cursor.is_none();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let page = caller.query_for(&ListOwnMails { cursor }).await?;
        mails.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    is_complete &= cursor.is_none();
    let export = Export {
        format: FORMAT,
        is_complete,
        account,
        orders,
        mails,
    };
    let file = serde_json::to_vec_pretty(&export).map_err(|_| Refusal::Internal)?;
    let mut response = answer::json(StatusCode::OK, file);
    response.headers_mut().insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"my-data.json\""),
    );
    Ok(response)
}

pub(crate) const ERASE: Operation =
    Operation::command::<EraseMe>("eraseMe", "accounts", "Erase one's account")
        .explains(
            "All that is known of the person goes, here and wherever it was sent. Orders go on to their end without mails; \
             what was bought, and for how much, stays. There is no letter about it: nothing is kept to send one to.",
        )
        .reads::<EraseMe>()
        .answers_nothing("It is erased.")
        .refuses(&[403, 404, 409, 422]);

pub(crate) async fn erase(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    by_password::<EraseMe>(caller, body, StatusCode::NO_CONTENT).await
}
