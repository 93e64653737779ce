//! Pages about accounts: signing in and up, and one's own account.
//!
//! Forms post here and lead on by a redirect. A page that comes back with complaints has the fields filled in again, but for
//! passwords.

pub(crate) mod addresses;
pub(crate) mod authorize;
pub(crate) mod data;
pub(crate) mod factors;
pub(crate) mod own;
pub(crate) mod password;
pub(crate) mod providers;
pub(crate) mod sign_in;
pub(crate) mod sign_up;
pub(crate) mod step_up;

use askama::Template;
use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION},
    },
    response::{IntoResponse, Response},
};
use shopzen_contracts::Problem;

use crate::{
    answer::Cache,
    pages::assets::STYLE_SHEET,
    problem::{Refusal, SaysItself},
};

/// Something that was done, or is on its way.
#[derive(Template)]
#[template(path = "account/message.html")]
struct Message {
    style_sheet: &'static str,
    title: &'static str,
    text: &'static str,
    next: &'static str,
    next_name: &'static str,
}

fn message(
    title: &'static str,
    text: &'static str,
    (next, next_name): (&'static str, &'static str),
) -> Result<Response, Refusal> {
    private(
        StatusCode::OK,
        &Message {
            style_sheet: &STYLE_SHEET,
            title,
            text,
            next,
            next_name,
        },
    )
}

/// A page for one person alone.
fn private(status: StatusCode, template: &impl Template) -> Result<Response, Refusal> {
    let mut response = super::page(template)?;
    *response.status_mut() = status;
    response.extensions_mut().insert(SaysItself);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, Cache::Never.value());
    Ok(response)
}

/// The same with our own script for passkeys.
fn private_with_passkeys(
    status: StatusCode,
    template: &impl Template,
) -> Result<Response, Refusal> {
    let mut response = private(status, template)?;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, super::CSP_PASSKEYS);
    Ok(response)
}

/// Leads on after a form: reloading the next page sends nothing twice (RFC 9110, 15.4.4).
fn see_other(target: &str) -> Result<Response, Refusal> {
    let target = HeaderValue::from_str(target).map_err(|_| Refusal::MalformedTarget)?;
    let headers = [(LOCATION, target), (CACHE_CONTROL, Cache::Never.value())];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// What is wrong, for who filled in a form. Any other refusal is a page of its own.
fn complaints(refusal: Refusal) -> Result<(StatusCode, Vec<String>), Refusal> {
    let Refusal::Worker(problem) = refusal else {
        return Err(refusal);
    };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    match problem.status {
        403 | 409 | 422 | 429 => Ok((status, said(&problem))),
        _ => Err(Refusal::Worker(problem)),
    }
}

fn said(problem: &Problem) -> Vec<String> {
    if problem.errors.is_empty() {
        return vec![capital(&problem.detail)];
    }
    let said = problem.errors.iter().map(|error| {
        let field = match error.pointer.as_str() {
            "/email" => "The e-mail address",
            "/password" => "The password",
            "/name" => "The name",
            other => other.trim_start_matches('/'),
        };
        format!("{field} {}.", error.detail)
    });
    said.collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

/// Where somebody wanted to go: a path of this shop, and no way out of it.
fn own_path(wanted: &str) -> Option<&str> {
    let is_path = wanted.starts_with('/') && !wanted.starts_with("//");
    // Browsers take a backslash for a slash, and leave control characters out.
    let is_plain = wanted
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (is_path && is_plain).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_leads_out_of_the_shop() {
        for good in ["/", "/account", "/oauth2/authorize?a=b&c=https%3A%2F%2Fx.y"] {
            assert_eq!(own_path(good), Some(good));
        }
        for bad in [
            "",
            "account",
            "//evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/a\r\nSet-Cookie: x=y",
            "/ä",
        ] {
            assert_eq!(own_path(bad), None, "{bad:?}");
        }
    }
}
