//! Forms: `application/x-www-form-urlencoded`, as OAuth clients send them.

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, header::CONTENT_TYPE},
};
use bytes::Bytes;

use crate::{params::Params, problem::Refusal, request::only};

/// The fields of a form. What nobody asks for is left alone, and an empty field is none (RFC 6749, 3.2).
#[derive(Debug)]
pub(crate) struct Form(Params);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body = bytes_of(request, state).await?;
        Self::parse(&body)
    }
}

/// The form as it came.
pub(crate) async fn text_of(request: Request) -> Result<String, Refusal> {
    let body = bytes_of(request, &()).await?;
    let malformed = "the body is not percent-encoded UTF-8";
    String::from_utf8(body.into()).map_err(|_| Refusal::MalformedForm(malformed.to_owned()))
}

async fn bytes_of<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Refusal> {
    if !is_form(request.headers())? {
        return Err(Refusal::NotForm);
    }
    Bytes::from_request(request, state)
        .await
        .map_err(|_| Refusal::BodyBroken)
}

/// Whether a request says that its body is a form.
pub(crate) fn is_form(headers: &HeaderMap) -> Result<bool, Refusal> {
    let content_type = only(headers, CONTENT_TYPE, || Refusal::NotForm)?;
    let essence = content_type.and_then(|it| it.split(';').next());
    Ok(essence.is_some_and(|it| {
        it.trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }))
}

impl Form {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let malformed =
            || Refusal::MalformedForm("the body is not percent-encoded UTF-8".to_owned());
        let text = std::str::from_utf8(body).map_err(|_| malformed())?;
        Params::parse(text).map(Self).map_err(|_| malformed())
    }

    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let mut values = self.0.all(name);
        if values.len() > 1 {
            let why = format!("{name} must stand there once");
            return Err(Refusal::MalformedForm(why));
        }
        Ok(values.pop())
    }

    pub(crate) fn require(&mut self, name: &str) -> Result<String, Refusal> {
        let value = self.take(name)?;
        value.ok_or_else(|| Refusal::MalformedForm(format!("{name} is missing")))
    }
}

#[cfg(test)]
impl Form {
    pub(crate) fn of_text(body: &str) -> Self {
        Self::parse(body.as_bytes()).expect("a test's form is well-formed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_stands_there_once_and_empty_is_absent() {
        let mut form = Form::parse(b"a=1+2%26&b=&c=x&c=y&other=z").unwrap();
        assert_eq!(form.require("a").unwrap(), "1 2&");
        assert_eq!(form.take("b").unwrap(), None);
        assert!(matches!(form.take("c"), Err(Refusal::MalformedForm(_))));
        assert!(matches!(form.require("d"), Err(Refusal::MalformedForm(_))));
        for broken in [&b"a=%ff"[..], b"a=%zz", b"\xff"] {
            assert!(matches!(
                Form::parse(broken),
                Err(Refusal::MalformedForm(_))
            ));
        }
    }
}
