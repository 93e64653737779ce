//! `/oauth2`: tokens for programs (RFC 6749, 7009, 7662), and how they find out about it (RFC 8414).
//!
//! Refusals are those of RFC 6749, 5.2, and `application/json` as it asks, with the members of our problems beside.

use std::sync::Arc;

use axum::{
    extract::{FromRequest as _, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION, request::Parts},
    response::{IntoResponse, Response},
};
use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use shopzen_contracts::{
    Confidential, Problem,
    auth::{
        IssuedToken,
        authorization::{GetUserinfo, Userinfo},
        clients::{
            ClientProof, GetMetadata, Grant, GrantType, INTROSPECTION_PATH, IntrospectToken,
            Introspection, Metadata, REVOCATION_PATH, RequestToken, RevokeToken, TOKEN_PATH,
        },
    },
};

use crate::{
    Edge,
    answer::{self, Cache, Tag},
    form::{self, Form},
    openapi::Operation,
    params::Params,
    problem::Refusal,
    request::{self, Caller, encode},
};

/// Where refusals are an OAuth client's to read.
pub(crate) const PATHS: [&str; 3] = [TOKEN_PATH, REVOCATION_PATH, INTROSPECTION_PATH];

/// What a proof that is signed says it is (RFC 7523, 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Somebody who shows who they are as a client does, not by an access token.
#[derive(Debug)]
pub(crate) struct OfClient(Caller);

impl FromRequestParts<Arc<Edge>> for OfClient {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Refusal> {
        Ok(Self(Caller::nobody(parts, edge)))
    }
}

pub(crate) const METADATA: Operation = Operation::query::<GetMetadata>(
    "getAuthorizationServer",
    "identity",
    "What the authorization server can do",
)
.explains("RFC 8414.")
.answers::<Metadata>(200, "Its addresses, and what works there.")
.is_resource();

pub(crate) const CONFIGURATION: Operation = Operation::query::<GetMetadata>(
    "getOpenIdConfiguration",
    "identity",
    "The same, where OpenID Connect looks for it",
)
.explains("OpenID Connect Discovery 1.0.")
.answers::<Metadata>(200, "Its addresses, and what works there.")
.is_resource();

pub(crate) async fn metadata(
    caller: Caller,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&GetMetadata {}).await?;
    let tag = Tag::of(&body);
    Ok(answer::resource(&headers, &tag, Cache::Briefly, body))
}

/// What every form of a client may have, if it does not sign in by Basic authentication.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[expect(clippy::struct_field_names, reason = "the names are those of the RFCs")]
struct ClientFields {
    client_id: Option<String>,
    client_secret: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`
    client_assertion_type: Option<String>,
    /// A JWT that the client has signed (RFC 7523).
    client_assertion: Option<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct TokenForm {
    grant_type: GrantType,
    /// Fewer scopes than the client has, or than were agreed to, parted by spaces.
    scope: Option<String>,
    /// With `authorization_code`.
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
    /// With `refresh_token`.
    refresh_token: Option<String>,
    #[schemars(flatten)]
    client: ClientFields,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct GivenToken {
    token: String,
    token_type_hint: Option<String>,
    #[schemars(flatten)]
    client: ClientFields,
}

pub(crate) const TOKEN: Operation = Operation::command::<RequestToken>("requestToken", "identity", "Get a token")
    .explains(
        "RFC 6749, for clients that staff have registered: for itself, for somebody who has let it in and come back with \
         a code, or for them once more by a refresh token, which is good once. A client shows who it is by its secret, with Basic \
         authentication or in the form, or by what it signs (RFC 7523).",
    )
    .reads_form::<TokenForm>()
    .answers::<IssuedToken>(200, "The token.");

pub(crate) async fn token(
    OfClient(mut caller): OfClient,
    headers: HeaderMap,
    mut form: Form,
) -> Result<Response, Refusal> {
    let client = proof(&headers, &mut form)?;
    let grant = grant(&mut form)?;
    let command = encode(&RequestToken { client, grant });
    let answered = caller.command::<RequestToken>(command).await?;
    Ok(answer::json(StatusCode::OK, answered.body))
}

/// Each way to get a token has its own fields.
fn grant(form: &mut Form) -> Result<Grant, Refusal> {
    let kind = form.require("grant_type")?;
    match GrantType::parse(&kind).ok_or(Refusal::UnsupportedGrant)? {
        GrantType::ClientCredentials => Ok(Grant::ClientCredentials {
            scope: form.take("scope")?,
        }),
        GrantType::AuthorizationCode => Ok(Grant::AuthorizationCode {
            code: Confidential::new(form.require("code")?),
            redirect_uri: form.take("redirect_uri")?,
            code_verifier: form.take("code_verifier")?.map(Confidential::new),
        }),
        GrantType::RefreshToken => Ok(Grant::RefreshToken {
            refresh_token: Confidential::new(form.require("refresh_token")?),
            scope: form.take("scope")?,
        }),
    }
}

pub(crate) const USERINFO: Operation =
    Operation::query::<GetUserinfo>("getUserinfo", "identity", "Who a token is about")
        .explains("OpenID Connect Core 1.0, 5.3: as far as the token's scopes let its client know.")
        .answers::<Userinfo>(200, "Who it is.")
        .refuses(&[403, 404]);

pub(crate) async fn userinfo(caller: Caller) -> Result<Response, Refusal> {
    let body = caller.query(&GetUserinfo {}).await?;
    Ok(answer::json(StatusCode::OK, body))
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct TokenInForm {
    /// Where it is not sent as `Authorization: Bearer` (RFC 6750, 2.2).
    access_token: Option<String>,
}

pub(crate) const USERINFO_POSTED: Operation = Operation::query::<GetUserinfo>(
    "postUserinfo",
    "identity",
    "Who a token is about, asked by a form",
)
.explains("OpenID Connect Core 1.0, 5.3.1. The token comes as a header or in the form, not both.")
.reads_form::<TokenInForm>()
.answers::<Userinfo>(200, "Who it is.")
.refuses(&[403, 404]);

pub(crate) async fn userinfo_posted(
    mut caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    if form::is_form(request.headers())? {
        let in_form = Form::from_request(request, &())
            .await?
            .take("access_token")?;
        if in_form.is_some() && caller.asking.identity.is_some() {
            let why = "a token comes as a header or in the form, and in one way only";
            return Err(Refusal::MalformedForm(why.to_owned()));
        }
        if in_form
            .as_deref()
            .is_some_and(|token| !request::is_token(token))
        {
            return Err(Refusal::Unauthenticated);
        }
        caller.asking.identity = caller.asking.identity.or(in_form);
    }
    if caller.asking.identity.is_none() {
        return Err(Refusal::Unauthenticated);
    }
    userinfo(caller).await
}

pub(crate) const REVOKE: Operation =
    Operation::command::<RevokeToken>("revokeToken", "identity", "Give a token back")
        .explains("RFC 7009, for a client's own tokens. It counts for nothing within seconds.")
        .reads_form::<GivenToken>()
        .answers_empty(
            "It is none of anybody's any more; what was none before is no mistake either.",
        );

pub(crate) async fn revoke(
    OfClient(mut caller): OfClient,
    headers: HeaderMap,
    mut form: Form,
) -> Result<Response, Refusal> {
    let client = proof(&headers, &mut form)?;
    let token = form.require("token")?;
    let command = encode(&RevokeToken { client, token });
    caller.command::<RevokeToken>(command).await?;
    Ok(StatusCode::OK.into_response())
}

pub(crate) const INTROSPECT: Operation =
    Operation::command::<IntrospectToken>("introspectToken", "identity", "Ask what a token is")
        .explains("RFC 7662, for a client's own tokens: of any other it says `\"active\": false`.")
        .reads_form::<GivenToken>()
        .answers::<Introspection>(200, "What it is.");

pub(crate) async fn introspect(
    OfClient(mut caller): OfClient,
    headers: HeaderMap,
    mut form: Form,
) -> Result<Response, Refusal> {
    let client = proof(&headers, &mut form)?;
    let token = form.require("token")?;
    let command = encode(&IntrospectToken { client, token });
    let answered = caller.command::<IntrospectToken>(command).await?;
    Ok(answer::json(StatusCode::OK, answered.body))
}

/// How the client shows who it is: in one way, and only one (RFC 6749, 2.3).
fn proof(headers: &HeaderMap, form: &mut Form) -> Result<ClientProof, Refusal> {
    const UNREADABLE: &str = "Authorization must be one header: Basic, with client_id and secret";
    let basic = request::only(headers, AUTHORIZATION, || {
        Refusal::ClientUnproven(UNREADABLE)
    })?;
    let client_id = form.take("client_id")?;
    let secret = form.take("client_secret")?;
    let assertion = form.take("client_assertion")?;
    let assertion_type = form.take("client_assertion_type")?;
    match (basic, secret, assertion) {
        (Some(basic), None, None) => {
            let (id, secret) = read_basic(basic).ok_or(Refusal::ClientUnproven(UNREADABLE))?;
            if client_id.is_some_and(|said| said != id) {
                let why = "client_id is another than that of the Authorization header";
                return Err(Refusal::MalformedForm(why.to_owned()));
            }
            Ok(ClientProof::Secret {
                client_id: id,
                secret,
            })
        }
        (None, Some(secret), None) => {
            let client_id = client_id
                .ok_or_else(|| Refusal::MalformedForm("client_id is missing".to_owned()))?;
            Ok(ClientProof::Secret { client_id, secret })
        }
        (None, None, Some(assertion)) => {
            if assertion_type.as_deref() != Some(ASSERTION_TYPE) {
                let why = format!("client_assertion_type must be {ASSERTION_TYPE}");
                return Err(Refusal::MalformedForm(why));
            }
            Ok(ClientProof::Assertion {
                client_id,
                assertion,
            })
        }
        (None, None, None) if client_id.is_some() => Ok(ClientProof::Public {
            client_id: client_id.unwrap_or_default(),
        }),
        (None, None, None) => Err(Refusal::ClientUnproven(
            "send client_id and client_secret, with Basic authentication or in the form, or a client_assertion",
        )),
        _ => Err(Refusal::MalformedForm(
            "a client shows who it is in one way only".to_owned(),
        )),
    }
}

/// Client id and secret, each encoded as in a form (RFC 6749, 2.3.1).
fn read_basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = BASE64.decode(encoded.trim().as_bytes()).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        let text = percent_decode_str(&spaced).decode_utf8().ok()?;
        Some(text.into_owned())
    };
    Some((decoded(id)?, decoded(secret)?))
}

/// A refusal with what RFC 6749, 5.2, has for it.
pub(crate) fn with_error(problem: Problem) -> Problem {
    const CODES: [&str; 5] = [
        "invalid_client",
        "invalid_grant",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    ];
    let error = match (problem.status, problem.code.as_str()) {
        (_, code) if CODES.contains(&code) => code.to_owned(),
        (429 | 503 | 504, _) => "temporarily_unavailable".to_owned(),
        (500.., _) => "server_error".to_owned(),
        _ => "invalid_request".to_owned(),
    };
    // Neither quotation marks nor backslashes, and ASCII alone.
    let description = problem.detail.replace(
        |it: char| !matches!(it, ' '..='~') || matches!(it, '"' | '\\'),
        "'",
    );
    problem
        .with("error", error)
        .with("error_description", description)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn basic_credentials_are_encoded_as_in_a_form() {
        let basic = |pair: &str| read_basic(&format!("Basic {}", BASE64.encode(pair.as_bytes())));
        let read = Some(("a:b".to_owned(), "p w%".to_owned()));
        assert_eq!(basic("a%3Ab:p+w%25"), read);
        assert_eq!(basic("nocolon"), None);
        assert_eq!(read_basic("Bearer YTpi"), None);
        assert_eq!(read_basic("Basic !!!"), None);
        assert_eq!(read_basic("Basic"), None);
    }

    #[test]
    fn every_refusal_is_one_that_oauth_knows() {
        let error = |status, code: &str| {
            let problem = with_error(Problem::new(status, code, "say \"ä\\\""));
            assert_eq!(
                problem.members["error_description"],
                "say '''''".replacen("'''''", "''''", 1)
            );
            problem.members["error"].as_str().unwrap().to_owned()
        };
        let unproven = Refusal::ClientUnproven("x").into_response();
        assert_eq!(unproven.status(), StatusCode::UNAUTHORIZED);
        for (status, code, expected) in [
            (401, "invalid_client", "invalid_client"),
            (400, "malformed_form", "invalid_request"),
            (422, "invalid_request", "invalid_request"),
            (429, "rate_limited", "temporarily_unavailable"),
            (503, "busy", "temporarily_unavailable"),
            (500, "internal_error", "server_error"),
        ] {
            assert_eq!(error(status, code), expected);
        }
    }

    #[test]
    fn a_client_shows_who_it_is_in_one_way() {
        let form = |body: &'static str| Form::of_text(body);
        let none = HeaderMap::new();
        let mut basic = HeaderMap::new();
        let value = format!("Basic {}", BASE64.encode(b"c:s"));
        basic.insert(AUTHORIZATION, HeaderValue::try_from(value).unwrap());
        for (headers, body) in [
            (&basic, ""),
            (&basic, "client_id=c"),
            (&none, "client_id=c&client_secret=s"),
        ] {
            let read = proof(headers, &mut form(body)).unwrap();
            let is_it = matches!(&read, ClientProof::Secret { client_id, secret } if client_id == "c" && secret == "s");
            assert!(is_it, "{body}: {read:?}");
        }
        for (headers, body) in [
            (&basic, "client_secret=s"),
            (&basic, "client_id=d"),
            (&basic, "client_assertion=x"),
            (&none, "client_id=c&client_secret=s&client_assertion=x"),
            (&none, "client_secret=s"),
            (&none, "client_assertion=x&client_assertion_type=other"),
        ] {
            let refused = proof(headers, &mut form(body));
            assert!(matches!(refused, Err(Refusal::MalformedForm(_))), "{body}");
        }
        let public = proof(&none, &mut form("client_id=c"));
        assert!(matches!(public, Ok(ClientProof::Public { client_id }) if client_id == "c"));
        let nothing = proof(&none, &mut form(""));
        assert!(matches!(nothing, Err(Refusal::ClientUnproven(_))));
    }
}
