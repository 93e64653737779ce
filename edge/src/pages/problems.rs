//! `/docs/problems`: what each error code means, and what to do about it.

use askama::Template;
use axum::{
    http::{
        HeaderName, HeaderValue,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::Response,
};
use shopzen_contracts::Problem;

use crate::{
    codes::{self, CODES, Code},
    pages::assets::STYLE_SHEET,
    problem::Refusal,
    request::Named,
};

#[derive(Template)]
#[template(path = "problems.html")]
struct Problems {
    style_sheet: &'static str,
    codes: &'static [Code],
}

pub(crate) async fn list() -> Result<Response, Refusal> {
    super::page(&Problems {
        style_sheet: &STYLE_SHEET,
        codes: CODES,
    })
}

pub(crate) async fn show(Named(code): Named<String>) -> Result<Response, Refusal> {
    let code = codes::find(&code).ok_or(Refusal::NotFound)?;
    super::page(&Problems {
        style_sheet: &STYLE_SHEET,
        codes: std::slice::from_ref(code),
    })
}

/// The page for somebody who wanted a page.
#[derive(Template)]
#[template(path = "refused.html")]
struct Refused<'p> {
    style_sheet: &'static str,
    problem: &'p Problem,
    trace_id: &'p str,
}

/// A refusal as a page, with the headers that a page needs.
pub(crate) fn of_problem(problem: &Problem) -> Option<([(HeaderName, HeaderValue); 2], String)> {
    let trace_id = problem.trace_id.as_deref().unwrap_or_default();
    let page = Refused {
        style_sheet: &STYLE_SHEET,
        problem,
        trace_id,
    }
    .render();
    let headers = [
        (CONTENT_TYPE, super::HTML),
        (CONTENT_SECURITY_POLICY, super::CSP),
    ];
    page.ok().map(|page| (headers, page))
}
