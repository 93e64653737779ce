//! `/api/v1/admin/products`: what staff do to the catalogue.

use axum::{
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, ETAG, LOCATION},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use shopzen_chassis::Answered;
use shopzen_contracts::{
    FieldError, Slug,
    catalog::{Product, ProductInput, UpsertProduct},
};

use crate::{
    answer::{self, JSON},
    api::{orders::mark_replayed, products},
    openapi::{Operation, Parameter},
    problem::Refusal,
    request::{Caller, IfMatch, JsonBody, Named, encode},
};

pub(crate) const PUT: Operation =
    Operation::command::<UpsertProduct>("putProduct", "staff", "Create or replace a product")
        .explains(
            "What exists is replaced only with its `ETag` in `If-Match`: nobody's change is lost.",
        )
        .takes(&[
            Parameter::header(
                "If-Match",
                "The `ETag` that was read. Needed where the product exists.",
            ),
            Parameter::IDEMPOTENCY_KEY,
            Parameter::REASON,
        ])
        .reads::<ProductInput>()
        .answers::<Product>(200, "The product as it is now; 201 where it is new.")
        .creates()
        .refuses(&[412, 422, 428]);

pub(crate) async fn put(
    mut caller: Caller,
    Named(slug): Named<Slug>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let body = with_slug(body, &slug)?;
    let if_match = IfMatch::read(&headers)?;
    caller.asking.if_match = match if_match {
        IfMatch::Absent => IfMatch::NOTHING_YET.into_header(),
        said => said.into_header(),
    };
    match caller.command::<UpsertProduct>(body).await {
        Err(Refusal::Worker(problem)) if problem.status == 412 && if_match == IfMatch::Absent => {
            Err(Refusal::IfMatchRequired)
        }
        answered => upserted(answered?),
    }
}

/// The body with the path's slug in it; they must not say different things.
fn with_slug(body: JsonBody, slug: &Slug) -> Result<Bytes, Refusal> {
    let mut product = body.clone().into_object()?;
    match product.get("slug") {
        Some(Value::String(said)) if said == slug.as_str() => Ok(body.0),
        Some(_) => Err(Refusal::Invalid(vec![FieldError::new(
            "/slug",
            "invalid",
            "must be the slug in the path, or absent",
        )])),
        None => {
            product.insert("slug".to_owned(), slug.as_str().into());
            Ok(encode(&product))
        }
    }
}

pub(crate) const POST: Operation =
    Operation::command::<UpsertProduct>("postProduct", "staff", "Create or change a product")
        .explains("As a feed does it: the product of that slug becomes what the body says.")
        .takes(&[Parameter::IDEMPOTENCY_KEY, Parameter::REASON])
        .reads::<ProductInput>()
        .answers::<Product>(200, "The product as it is now; 201 where it is new.")
        .creates()
        .refuses(&[412, 422]);

pub(crate) async fn post(
    mut caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    caller.asking.if_match = IfMatch::read(&headers)?.into_header();
    let answered = caller.command::<UpsertProduct>(body).await?;
    upserted(answered)
}

fn upserted(answered: Answered) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    struct Upserted {
        slug: Slug,
        version: i64,
    }
    let Upserted { slug, version } = answer::read(&answered.body)?;
    let tag = products::tag(&answered.body)?;
    let created = version == 1;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = (status, [(CONTENT_TYPE, JSON)], answered.body).into_response();
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.value());
    if created {
        let location = format!("/api/v1/products/{slug}");
        headers.insert(
            LOCATION,
            HeaderValue::try_from(location).expect("a slug is ASCII"),
        );
    }
    mark_replayed(headers, answered.replayed);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(body: &'static str) -> Result<Bytes, Refusal> {
        let slug = Slug::parse("lamp").unwrap();
        with_slug(JsonBody(Bytes::from_static(body.as_bytes())), &slug)
    }

    #[test]
    fn the_path_says_which_product_it_is() {
        assert_eq!(
            merged(r#"{"name":"Lamp"}"#).unwrap(),
            r#"{"name":"Lamp","slug":"lamp"}"#
        );
        let same = r#"{ "slug": "lamp" }"#;
        assert_eq!(merged(same).unwrap(), same, "it goes as it came");
        for other in [r#"{"slug":"sofa"}"#, r#"{"slug":7}"#] {
            assert!(matches!(merged(other), Err(Refusal::Invalid(_))), "{other}");
        }
        for broken in ["[]", "{", "", "\"lamp\""] {
            assert!(
                matches!(merged(broken), Err(Refusal::MalformedJson(_))),
                "{broken}"
            );
        }
    }

    #[test]
    fn a_new_product_is_created_and_another_is_changed() {
        let answer = |version: i64| {
            let body = format!(r#"{{"slug":"lamp","version":{version}}}"#);
            upserted(Answered {
                body: body.into(),
                replayed: false,
            })
            .unwrap()
        };
        let created = answer(1);
        assert_eq!(created.status(), StatusCode::CREATED);
        assert_eq!(created.headers()[LOCATION], "/api/v1/products/lamp");
        let changed = answer(2);
        assert_eq!(changed.status(), StatusCode::OK);
        assert!(
            changed.headers()[ETAG]
                .to_str()
                .unwrap()
                .starts_with("\"2.")
        );
    }
}
