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

use url::{Host, Url};

use crate::{answer::Cache, problem::Refusal};

pub(crate) use problems::of_problem;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Our own styles, pictures from anywhere that encrypts, forms that lead back here, and no script.
const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self' https:; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// The same with our own script, for passkeys: browsers hand them to scripts alone.
const CSP_PASSKEYS: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' https:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// Whether browsers keep passkeys for this address; the auth worker has the last word.
pub(crate) fn passkeys_work_at(public_url: &str) -> bool {
    let url = Url::parse(public_url).ok();
    url.is_some_and(|url| match url.host() {
        Some(Host::Domain(domain)) => url.scheme() == "https" || domain == "localhost",
        _ => false,
    })
}

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
