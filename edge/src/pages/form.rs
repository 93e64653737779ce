//! Forms that our own pages send.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, FromRequestParts as _, Request},
    http::{
        HeaderMap, HeaderName,
        header::{HOST, ORIGIN},
    },
};
use shopzen_contracts::Confidential;
use url::Url;

use crate::{
    Edge,
    form::Form,
    problem::Refusal,
    session::{Visitor, form_token},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The field by which a form shows that one of our pages made it.
const FORM_TOKEN: &str = "form_token";

/// What somebody filled in on one of our own pages. No other site can send it for them: the browser says where the form came
/// from, and of who is signed in it has the token that only our page for them has.
#[derive(Debug)]
pub(crate) struct OwnForm {
    pub(crate) visitor: Visitor,
    fields: Form,
}

impl FromRequest<Arc<Edge>> for OwnForm {
    type Rejection = Refusal;

    async fn from_request(request: Request, edge: &Arc<Edge>) -> Result<Self, Refusal> {
        if !is_own(request.headers()) {
            return Err(Refusal::CrossSite);
        }
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, edge).await?;
        let request = Request::from_parts(parts, body);
        let mut fields = Form::from_request(request, edge).await?;
        let token = fields.take(FORM_TOKEN)?;
        if visitor.session.is_some() {
            let wanted = visitor.cookie.as_ref().map(form_token);
            if token != wanted {
                return Err(Refusal::CrossSite);
            }
        }
        Ok(Self { visitor, fields })
    }
}

impl OwnForm {
    /// A field as it is; empty where it was left out.
    pub(crate) fn text(&mut self, name: &str) -> Result<String, Refusal> {
        Ok(self.fields.take(name)?.unwrap_or_default())
    }

    pub(crate) fn confidential(&mut self, name: &str) -> Result<Confidential, Refusal> {
        self.text(name).map(Confidential::new)
    }
}

/// Whether the browser says that the form was on a page of the host that it sends it to. Every browser of the last years says
/// so with each form; who says nothing is no browser, and has no cookie to protect, but is not believed either.
fn is_own(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE)
        && site != "same-origin"
        && site != "none"
    {
        return false;
    }
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let (Some(origin), Some(host)) = (text(ORIGIN), text(HOST)) else {
        return false;
    };
    let Ok(origin) = Url::parse(origin) else {
        return false;
    };
    let authority = match (origin.host_str(), origin.port()) {
        (Some(name), Some(port)) => format!("{name}:{port}"),
        (Some(name), None) => name.to_owned(),
        (None, _) => return false,
    };
    // A port that the scheme has anyway may be said or not.
    let default = origin.port_or_known_default().unwrap_or_default();
    host.eq_ignore_ascii_case(&authority)
        || host.eq_ignore_ascii_case(&format!("{authority}:{default}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pairs: &[(&'static str, &str)]) -> bool {
        let headers = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        is_own(&headers)
    }

    #[test]
    fn a_form_of_our_own_says_so_and_no_other_can() {
        let host = ("host", "shop.example");
        for good in [
            &[host, ("origin", "https://shop.example")][..],
            &[
                host,
                ("origin", "https://shop.example"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[
                ("host", "127.0.0.1:8080"),
                ("origin", "http://127.0.0.1:8080"),
            ],
            &[
                ("host", "shop.example:443"),
                ("origin", "https://shop.example"),
            ],
        ] {
            assert!(own(good), "{good:?}");
        }
        for bad in [
            &[host][..],
            &[host, ("origin", "null")],
            &[host, ("origin", "https://evil.example")],
            &[host, ("origin", "https://shop.example.evil.example")],
            &[host, ("origin", "https://shop.example:8443")],
            &[host, ("origin", "https://shop.example@evil.example")],
            &[
                host,
                ("origin", "https://shop.example"),
                ("sec-fetch-site", "cross-site"),
            ],
            &[
                host,
                ("origin", "https://shop.example"),
                ("sec-fetch-site", "same-site"),
            ],
            &[("origin", "https://shop.example")],
        ] {
            assert!(!own(bad), "{bad:?}");
        }
    }
}
