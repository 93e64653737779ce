//! `/docs`: the OpenAPI document, and Swagger UI from the binary to read it with.

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::{
    http::{HeaderMap, HeaderValue, header::CONTENT_SECURITY_POLICY},
    response::Response,
};
use utoipa_swagger_ui::Config;

use crate::{
    answer::{self, Cache, Tag},
    openapi::DOCUMENT,
    problem::Refusal,
    request::Named,
};

/// Swagger UI is a script that sets styles and draws with data addresses. Only here.
const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

pub(crate) async fn openapi(headers: HeaderMap) -> Response {
    answer::resource(
        &headers,
        &Tag::of(&DOCUMENT),
        Cache::Public,
        DOCUMENT.clone(),
    )
}

#[derive(Template)]
#[template(path = "docs.html")]
struct Docs;

pub(crate) async fn show() -> Result<Response, Refusal> {
    let mut response = super::page(&Docs)?;
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, CSP);
    Ok(response)
}

static SWAGGER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    // No validator: it would be somebody else's server.
    Arc::new(
        Config::from("/api/openapi.json")
            .validator_url("none")
            .try_it_out_enabled(true),
    )
});

/// A file of Swagger UI.
pub(crate) async fn file(
    Named(name): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // Its own page loads things by relative addresses; ours is at /docs.
    let served = utoipa_swagger_ui::serve(&name, Arc::clone(&SWAGGER)).map_err(|error| {
        tracing::error!(%error, "a file of Swagger UI cannot be served");
        Refusal::Internal
    })?;
    let file = served
        .filter(|_| name != "index.html")
        .ok_or(Refusal::NotFound)?;
    let content_type = file
        .content_type
        .parse::<HeaderValue>()
        .map_err(|_| Refusal::Internal)?;
    Ok(answer::file(
        &headers,
        Cache::Public,
        content_type,
        file.bytes.into_owned().into(),
    ))
}
