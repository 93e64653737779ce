//! What handlers take from a request. Whatever is wrong with it becomes a [`Problem`].

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::{Form, Json};
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::values::{ChargeId, Key};

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(body) = Json::from_request(request, state).await?;
        Ok(Self(body))
    }
}

/// The fields of an HTML form.
pub(crate) struct Fields<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Fields<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Form(fields) = Form::from_request(request, state).await?;
        Ok(Self(fields))
    }
}

/// The parameters behind the question mark.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(params) = Query::from_request_parts(parts, state).await?;
        Ok(Self(params))
    }
}

/// The id in the path. Text that cannot be an id is the id of nothing.
impl<S: Send + Sync> FromRequestParts<S> for ChargeId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segment = Path::<String>::from_request_parts(parts, state).await.ok();
        segment
            .and_then(|Path(text)| text.parse().ok())
            .ok_or_else(|| Problem::not_found("there is no such charge"))
    }
}

/// The key of the header `Idempotency-Key`.
pub(crate) struct IdempotencyKey(pub(crate) Key);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let invalid =
            |message| Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", message);
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(invalid("one Idempotency-Key is required".to_owned()));
        };
        let text = value.to_str().map_err(|error| invalid(error.to_string()))?;
        let key = Key::try_from(text.to_owned()).map_err(|error| invalid(error.to_string()))?;
        Ok(Self(key))
    }
}

/// The key in the path of an operation. Text that cannot be a key is the key of nothing.
pub(crate) struct OperationKey(pub(crate) Key);

impl<S: Send + Sync> FromRequestParts<S> for OperationKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segment = Path::<String>::from_request_parts(parts, state).await.ok();
        segment
            .and_then(|Path(text)| Key::try_from(text).ok())
            .map(Self)
            .ok_or_else(|| Problem::not_found("nothing came of this key"))
    }
}

/// Where the caller found this server, such as `http://127.0.0.1:9090`; empty where it did not say.
pub(crate) struct Origin(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let host = parts.headers.get(header::HOST);
        let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        Ok(Self(authority.map_or_else(String::new, |authority| {
            format!("http://{authority}")
        })))
    }
}
