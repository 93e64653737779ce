//! `/api/v1/categories` and `/api/v1/suggest`: ways into the catalogue.

use axum::{http::HeaderMap, response::Response};
use shopzen_contracts::catalog::{Categories, ListCategories, Suggest, Suggestions};

use crate::{
    answer::{self, Cache, Tag},
    openapi::{Operation, Parameter},
    params::Params,
    problem::Refusal,
    request::Caller,
};

pub(crate) const CATEGORIES: Operation =
    Operation::query::<ListCategories>("listCategories", "catalogue", "The category tree")
        .explains("With the number of products in and below each category.")
        .answers::<Categories>(200, "The whole tree.")
        .is_resource();

pub(crate) async fn categories(
    caller: Caller,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&ListCategories {}).await?;
    Ok(answer::resource(
        &headers,
        &Tag::of(&body),
        Cache::Public,
        body,
    ))
}

pub(crate) const SUGGEST: Operation =
    Operation::query::<Suggest>("suggest", "catalogue", "Completions")
        .explains("Up to ten things a shopper may be about to type.")
        .takes(&[Parameter::query::<String>("q", "What has been typed so far.").required()])
        .answers::<Suggestions>(200, "The likeliest first.")
        .refuses(&[422]);

pub(crate) async fn suggest(
    caller: Caller,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Refusal> {
    let q = params.text("q");
    if q.is_none() {
        params.refuse("q", "missing", "must say what has been typed so far");
    }
    params.finish()?;
    let body = caller
        .query(&Suggest {
            q: q.unwrap_or_default(),
        })
        .await?;
    Ok(answer::resource(
        &headers,
        &Tag::of(&body),
        Cache::Public,
        body,
    ))
}
