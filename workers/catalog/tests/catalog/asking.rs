//! What shoppers ask, over the contract.

use serde_json::json;
use shopzen_chassis::Asking;
use shopzen_contracts::{
    Query,
    catalog::{GetProduct, ListCategories, ListProducts, Sort, Suggest},
};

use crate::fixtures::{get, harness, import, input, levels, list};

#[tokio::test]
async fn a_shopper_browses() {
    let harness = harness().await;
    let products = (0..30).map(|n| {
        let price = json!({"amount_minor": 100 * (n % 10), "currency": "EUR"});
        let sku = format!("S{n}");
        let colour = if n % 2 == 0 { "red" } else { "blue" };
        let variants = json!([{"sku": sku, "price": price, "options": {"Colour": colour}}]);
        let category = if n < 10 { "Lamps" } else { "Chairs" };
        let name = format!("Thing {n}");
        let changes = json!({"name": name, "variants": variants, "categories": ["Home", category]});
        input(&format!("thing-{n}"), &[&sku], &changes)
    });
    import(&harness, products.collect()).await;
    harness.deliver_once(&levels(&[("S3", 2, 1)])).await;

    let first = list(&harness, ListProducts::default()).await;
    assert_eq!((first.items.len(), first.facets.is_none()), (24, true));
    assert_eq!(first.items[0].slug.as_str(), "thing-29", "newest first");
    let cursor = first.next_cursor;
    let second = list(
        &harness,
        ListProducts {
            cursor,
            ..ListProducts::default()
        },
    )
    .await;
    assert_eq!((second.items.len(), second.next_cursor), (6, None));

    let query = ListProducts {
        category: Some("home".to_owned()),
        options: [("colour".to_owned(), "blue".to_owned())].into(),
        sort: Sort::PriceDescending,
        facets: true,
        ..ListProducts::default()
    };
    let blue = list(&harness, query).await;
    assert_eq!(blue.items.len(), 15);
    assert_eq!(blue.items[0].price_from.amount_minor, 900);
    let facets = blue.facets.unwrap();
    assert_eq!(
        (facets[0].name.as_str(), facets[0].values[0].count),
        ("category", 15)
    );

    let query = ListProducts {
        in_stock: Some(true),
        ..ListProducts::default()
    };
    let left = list(&harness, query).await;
    assert_eq!((left.items.len(), left.items[0].available), (1, 2));

    let tree = harness
        .query(&ListCategories {}, &Asking::default())
        .await
        .unwrap()
        .items;
    let counts: Vec<u64> = tree[0]
        .children
        .iter()
        .map(|child| child.product_count)
        .collect();
    assert_eq!((tree[0].product_count, counts), (30, vec![20, 10]));

    let suggest = Suggest {
        q: "thin".to_owned(),
    };
    let suggested = harness
        .query(&suggest, &Asking::default())
        .await
        .unwrap()
        .items;
    assert_eq!(suggested.len(), 10);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let harness = harness().await;
    for nobody in [
        "lamp",
        "",
        "0199c7a4-6f00-7000-8000-00000000002a",
        "%2e%2e",
        "a\u{0}b",
    ] {
        let problem = get(&harness, nobody).await.unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (404, "not_found"),
            "{nobody:?}"
        );
    }
}

#[tokio::test]
async fn hostile_questions_are_refused() {
    let harness = harness().await;
    let long = "x".repeat(100_000);
    for (subject, body, status) in [
        (
            ListProducts::SUBJECT,
            r#"{"cursor": "zzz"}"#.to_owned(),
            400,
        ),
        (ListProducts::SUBJECT, r#"{"cursor": ""}"#.to_owned(), 400),
        (
            ListProducts::SUBJECT,
            format!(r#"{{"cursor": "{long}"}}"#),
            400,
        ),
        (ListProducts::SUBJECT, r#"{"limit": 0}"#.to_owned(), 422),
        (
            ListProducts::SUBJECT,
            r#"{"limit": 4294967296}"#.to_owned(),
            422,
        ),
        (
            ListProducts::SUBJECT,
            r#"{"sort": "cheap"}"#.to_owned(),
            422,
        ),
        (
            ListProducts::SUBJECT,
            r#"{"min_price": -1}"#.to_owned(),
            422,
        ),
        (
            ListProducts::SUBJECT,
            r#"{"min_price": 1.5}"#.to_owned(),
            422,
        ),
        (ListProducts::SUBJECT, format!(r#"{{"q": "{long}"}}"#), 422),
        (ListProducts::SUBJECT, r#"{"page": 2}"#.to_owned(), 422),
        (Suggest::SUBJECT, format!(r#"{{"q": "{long}"}}"#), 422),
        (GetProduct::SUBJECT, r#"{"id_or_slug": 7}"#.to_owned(), 422),
        (
            GetProduct::SUBJECT,
            format!(r#"{{"id_or_slug": "{long}"}}"#),
            404,
        ),
        (ListCategories::SUBJECT, "null".to_owned(), 422),
    ] {
        let problem = harness
            .ask_bytes(subject, body.as_bytes(), &Asking::default())
            .await
            .unwrap_err();
        assert_eq!(
            problem.status,
            status,
            "{subject} {}",
            &body[..body.len().min(60)]
        );
    }
    let problem = harness
        .ask_bytes(Suggest::SUBJECT, b"{\"q\": \"\xff\"}", &Asking::default())
        .await
        .unwrap_err();
    assert_eq!(problem.status, 400);
    // Odd, and harmless.
    for q in [
        "\u{0}",
        "' OR 1=1 --",
        "%",
        "\\",
        "\u{202e}",
        "a & b | !c:*",
        "𝕏",
    ] {
        let query = ListProducts {
            q: Some(q.to_owned()),
            ..ListProducts::default()
        };
        list(&harness, query).await;
    }
}
