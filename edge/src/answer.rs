//! What a worker's answer becomes in HTTP: its bytes as they are, with the headers they need.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::problem::Refusal;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The answer had been given before, under the same key.
pub(crate) const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// Who may keep an answer, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cache {
    /// Nobody.
    Never,
    /// The shopper's browser, which has to ask whether it is still good.
    Private,
    /// Anybody, who has to ask whether it is still good.
    Public,
    /// Anybody, for a few minutes.
    Briefly,
    /// Anybody for ever: the name has the hash of the content.
    Immutable,
}

impl Cache {
    pub(crate) fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Never => "no-store",
            Self::Private => "private, no-cache",
            Self::Public => "public, no-cache",
            Self::Briefly => "public, max-age=300",
            Self::Immutable => "public, max-age=31536000, immutable",
        })
    }
}

/// JSON that nobody keeps.
pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = (status, [(CONTENT_TYPE, JSON)], body.into()).into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, Cache::Never.value());
    response
}

/// One resource with its strong `ETag`, or 304 where the client has it already.
pub(crate) fn resource(asked: &HeaderMap, tag: &Tag, cache: Cache, body: Bytes) -> Response {
    tagged(asked, tag, cache, JSON, body)
}

/// A file that is part of the program.
pub(crate) fn file(
    asked: &HeaderMap,
    cache: Cache,
    content_type: HeaderValue,
    content: Cow<'static, [u8]>,
) -> Response {
    let body = match content {
        Cow::Borrowed(content) => Bytes::from_static(content),
        Cow::Owned(content) => content.into(),
    };
    tagged(asked, &Tag::of(&body), cache, content_type, body)
}

fn tagged(
    asked: &HeaderMap,
    tag: &Tag,
    cache: Cache,
    content_type: HeaderValue,
    body: Bytes,
) -> Response {
    let mut response = if tag.is_in(asked) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        (StatusCode::OK, [(CONTENT_TYPE, content_type)], body).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.value());
    headers.insert(CACHE_CONTROL, cache.value());
    response
}

/// A page of a list, with the address of the next one.
///
/// # Errors
///
/// [`Refusal::Internal`] where the worker's answer is no page.
pub(crate) fn page(
    path: &str,
    query: Option<&str>,
    cache: Cache,
    body: Bytes,
) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    struct Page {
        next_cursor: Option<String>,
    }
    let page: Page = read(&body)?;
    let mut response = (StatusCode::OK, [(CONTENT_TYPE, JSON)], body).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, cache.value());
    if let Some(cursor) = page.next_cursor {
        let link = format!("<{}>; rel=\"next\"", next_page(path, query, &cursor));
        headers.insert(LINK, link.parse().map_err(|_| Refusal::Internal)?);
    }
    Ok(response)
}

/// The same list from `cursor` on.
pub(crate) fn next_page(path: &str, query: Option<&str>, cursor: &str) -> String {
    /// What would end the address in a `Link` header, beside what RFC 3986 forbids anyway.
    const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');
    let kept = query.unwrap_or_default().split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !name.is_empty() && name != "cursor"
    });
    let mut address = format!("{path}?");
    for pair in kept {
        address.extend(utf8_percent_encode(pair, UNSAFE));
        address.push('&');
    }
    address.push_str("cursor=");
    address.extend(utf8_percent_encode(cursor, NON_ALPHANUMERIC));
    address
}

/// Reads the few members of a worker's answer that the edge needs.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        tracing::error!(%error, "a worker's answer is not what its contract says");
        Refusal::Internal
    })
}

/// A strong entity tag: of a version, if there is one, and of the bytes.
///
/// The bytes of a product also show what is in stock, which changes without the product being
/// edited. The version in front is what `If-Match` is about.
#[derive(Clone, Debug)]
pub(crate) struct Tag(String);

/// Bytes of the digest in a tag.
const TAG_BYTES: usize = 12;
/// What a tag ends in where the body is compressed: these are other bytes (RFC 9110, 8.8.3.3).
const COMPRESSED: &str = "-gzip\"";

impl Tag {
    pub(crate) fn of(body: &[u8]) -> Self {
        Self(format!("\"{}\"", digest(body)))
    }

    pub(crate) fn of_version(version: i64, body: &[u8]) -> Self {
        Self(format!("\"{version}.{}\"", digest(body)))
    }

    pub(crate) fn value(&self) -> HeaderValue {
        self.0
            .parse()
            .expect("digits and letters are a header value")
    }

    /// Whether the client has just this (`If-None-Match`, compared weakly as RFC 9110 asks).
    pub(crate) fn is_in(&self, asked: &HeaderMap) -> bool {
        asked
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag == self.0 || tag.strip_suffix(COMPRESSED) == self.open())
    }

    /// The tag without its closing quotation mark.
    fn open(&self) -> Option<&str> {
        self.0.strip_suffix('"')
    }
}

/// Gives a compressed answer a tag of its own.
pub(crate) fn tell_compressed_apart(headers: &mut HeaderMap) {
    let tag = headers
        .get(ETAG)
        .and_then(|tag| tag.to_str().ok()?.strip_suffix('"'));
    if let Some(tag) = tag.and_then(|tag| format!("{tag}{COMPRESSED}").parse().ok()) {
        headers.insert(ETAG, tag);
    }
}

fn digest(body: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(body)[..TAG_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> HeaderMap {
        [(IF_NONE_MATCH, value.parse().unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn a_client_that_has_the_bytes_gets_304_and_no_body() {
        let tag = Tag::of(b"{}");
        let text = tag.value().to_str().unwrap().to_owned();
        let open = text.trim_end_matches('"');
        for has in [
            text.as_str(),
            "*",
            &format!("\"x\", W/{text}"),
            &format!("{open}-gzip\""),
        ] {
            let response = resource(&asked(has), &tag, Cache::Public, Bytes::from_static(b"{}"));
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{has}");
            assert_eq!(response.headers()[ETAG], text);
        }
        for has_not in ["\"x\"", "", "nonsense,,,", open, &format!("{open}x\"")] {
            let response = resource(
                &asked(has_not),
                &tag,
                Cache::Public,
                Bytes::from_static(b"{}"),
            );
            assert_eq!(response.status(), StatusCode::OK, "{has_not}");
        }
    }

    #[test]
    fn other_bytes_and_another_version_have_another_tag() {
        let tags = [
            Tag::of(b"a").0,
            Tag::of(b"b").0,
            Tag::of_version(1, b"a").0,
            Tag::of_version(2, b"a").0,
        ];
        for (index, tag) in tags.iter().enumerate() {
            assert!(!tags[..index].contains(tag));
            assert!(tag.starts_with('"') && tag.ends_with('"'));
        }
    }

    #[test]
    fn the_next_page_keeps_the_filter_and_moves_the_cursor() {
        assert_eq!(
            next_page(
                "/api/v1/products",
                Some("q=lamp&cursor=old&limit=5"),
                "a/b=="
            ),
            "/api/v1/products?q=lamp&limit=5&cursor=a%2Fb%3D%3D"
        );
        assert_eq!(next_page("/p", None, "x"), "/p?cursor=x");
        assert_eq!(
            next_page("/p", Some("q=\"<é>"), "x"),
            "/p?q=%22%3C%C3%A9%3E&cursor=x"
        );
    }

    #[test]
    fn a_list_names_its_next_page_only_if_there_is_one() {
        let link = |body: &'static str| {
            let page = page(
                "/p",
                None,
                Cache::Public,
                Bytes::from_static(body.as_bytes()),
            );
            page.unwrap()
                .headers()
                .get(LINK)
                .map(|link| link.to_str().unwrap().to_owned())
        };
        assert_eq!(
            link(r#"{"items":[],"next_cursor":"c"}"#).as_deref(),
            Some("</p?cursor=c>; rel=\"next\"")
        );
        assert_eq!(link(r#"{"items":[],"next_cursor":null}"#), None);
    }
}
