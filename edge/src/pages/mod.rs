//! Pages for people: rendered here, complete without JavaScript.

pub(crate) mod account;
pub(crate) mod assets;
pub(crate) mod docs;
pub(crate) mod events;
mod form;
pub(crate) mod home;
pub(crate) mod problems;

use askama::Template;
use axum::{
    http::{
        HeaderValue,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use crate::{answer::Cache, problem::Refusal};

pub(crate) use problems::of_problem;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Our own styles, pictures from anywhere that encrypts, forms that lead back here, and no script.
const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self' https:; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// A page that changes with the shop.
fn page(template: &impl Template) -> Result<Response, Refusal> {
    let html = template.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        Refusal::Internal
    })?;
    let headers = [
        (CONTENT_TYPE, HTML),
        (CONTENT_SECURITY_POLICY, CSP),
        (CACHE_CONTROL, Cache::Public.value()),
    ];
    Ok((headers, html).into_response())
}
