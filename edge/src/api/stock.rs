//! `/api/v1/stock`: how many of what can be bought now.

use axum::{http::StatusCode, response::Response};
use shopzen_contracts::{
    Sku,
    stock::{GetLevels, Levels},
};

use crate::{
    answer,
    openapi::{Operation, Parameter},
    params::Params,
    problem::Refusal,
    request::Caller,
};

pub(crate) const GET: Operation =
    Operation::query::<GetLevels>("getStock", "stock", "Availability")
        .explains("Straight from the stock worker. SKUs that nobody has counted are 0.")
        .takes(&[Parameter::query::<Vec<Sku>>("sku", "1 to 100 SKUs: `sku=A&sku=B`.").required()])
        .answers::<Levels>(200, "One item for each SKU.")
        .refuses(&[422]);

pub(crate) async fn get(caller: Caller, params: Params) -> Result<Response, Refusal> {
    let skus = skus(params, GetLevels::SKUS_MAX)?;
    Ok(answer::json(
        StatusCode::OK,
        caller.query(&GetLevels { skus }).await?,
    ))
}

/// The parameter `sku`, said once for each.
pub(crate) fn skus(mut params: Params, count_max: usize) -> Result<Vec<Sku>, Refusal> {
    let texts = params.all("sku");
    if !(1..=count_max).contains(&texts.len()) {
        params.refuse(
            "sku",
            "invalid",
            &format!("must be there 1 to {count_max} times"),
        );
    }
    let mut skus = Vec::with_capacity(texts.len().min(count_max));
    for text in texts.into_iter().take(count_max) {
        match Sku::parse(text) {
            Ok(sku) if skus.contains(&sku) => {}
            Ok(sku) => skus.push(sku),
            Err(error) => params.refuse("sku", "invalid", &error.to_string()),
        }
    }
    params.finish()?;
    Ok(skus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Vec<Sku>, Refusal> {
        skus(Params::parse(query).unwrap(), 3)
    }

    #[test]
    fn skus_are_read_once_each() {
        let skus = read("sku=A&sku=B-1&sku=A").unwrap();
        assert_eq!(
            skus.iter().map(Sku::as_str).collect::<Vec<_>>(),
            ["A", "B-1"]
        );
    }

    #[test]
    fn none_too_many_and_impossible_skus_are_refused() {
        for query in [
            "",
            "sku=",
            "sku=A&sku=B&sku=C&sku=D",
            "sku=a%20b",
            "sku=A&x=1",
        ] {
            assert!(matches!(read(query), Err(Refusal::Invalid(_))), "{query}");
        }
    }
}
