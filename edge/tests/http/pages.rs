//! What the edge serves without asking anybody.

use serde_json::Value;

use crate::client::Shop;

#[tokio::test]
async fn every_documented_call_is_served_and_says_its_methods() {
    let shop = Shop::open().await;
    let document = shop.get("/api/openapi.json").await;
    assert_eq!(document.header("content-type"), "application/json");
    let document: Value = serde_json::from_slice(&document.body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 10);
    for (path, item) in paths {
        let target = path
            .replace("{id}", "019376a0-0000-7000-8000-000000000000")
            .replace("{id_or_slug}", "lamp")
            .replace("{slug}", "lamp")
            .replace("{sku}", "LAMP");
        let options = shop.request("OPTIONS", &target, &[], "").await;
        assert_eq!(options.status, 204, "{path}");
        let mut allowed: Vec<String> = options
            .header("allow")
            .split(", ")
            .map(str::to_ascii_lowercase)
            .collect();
        allowed.retain(|method| method != "options" && method != "head");
        let documented: Vec<&String> = item.as_object().unwrap().keys().collect();
        assert_eq!(allowed.iter().collect::<Vec<_>>(), documented, "{path}");
    }
}

#[tokio::test]
async fn the_documentation_works_without_any_other_server() {
    let shop = Shop::open().await;
    let page = shop.get("/docs").await;
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-security-policy")
            .contains("script-src 'self'")
    );
    let html = page.text();
    assert!(!html.contains("http"), "nothing is loaded from elsewhere");
    let addresses = html
        .split('"')
        .filter(|text| text.starts_with("/docs/"))
        .collect::<Vec<_>>();
    assert!(addresses.len() >= 5, "{addresses:?}");
    for address in addresses {
        let file = shop.get(address).await;
        assert_eq!(file.status, 200, "{address}");
        let kind = match address.rsplit('.').next() {
            Some("css") => "text/css",
            Some("js") => "text/javascript",
            _ => "image/png",
        };
        assert!(
            file.header("content-type").starts_with(kind),
            "{address} {:?}",
            file.headers
        );
    }
    let initializer = shop.get("/docs/swagger-initializer.js").await.text();
    assert!(initializer.contains("/api/openapi.json"), "{initializer}");
}

#[tokio::test]
async fn the_contract_on_nats_can_be_read_and_fetched() {
    let shop = Shop::open().await;
    let page = shop.get("/docs/events").await;
    assert_eq!(page.status, 200);
    let html = page.text();
    assert!(html.contains("shop.evt.stock.v1.reserved.*"), "{html}");
    let contract = shop.get("/docs/asyncapi.yaml").await;
    assert_eq!(contract.header("content-type"), "application/yaml");
    assert!(contract.text().contains("asyncapi: \"3.0.0\""));

    let list: Value = serde_json::from_slice(&shop.get("/schemas/").await.body).unwrap();
    let listed = list["schemas"].as_array().unwrap();
    let linked = html
        .split('"')
        .filter(|text| text.starts_with("/schemas/"))
        .count();
    assert!(linked > 20 && linked <= listed.len(), "{linked}");
    for path in listed {
        let schema = shop.get(path.as_str().unwrap()).await;
        assert_eq!(schema.header("content-type"), "application/schema+json");
        let schema: Value = serde_json::from_slice(&schema.body).unwrap();
        assert!(schema["title"].is_string(), "{path}: {schema}");
    }
    assert_eq!(shop.get("/schemas/made-up.json").await.code(), "not_found");
}

#[tokio::test]
async fn every_error_has_a_page_and_made_up_ones_do_not() {
    let shop = Shop::open().await;
    let page = shop.get("/docs/problems/idempotency_key_reused").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("another body"));
    assert!(
        page.header("content-security-policy")
            .contains("style-src 'self'")
    );
    assert_eq!(shop.get("/docs/problems/made_up").await.code(), "not_found");
}

#[tokio::test]
async fn a_file_with_its_hash_in_its_name_is_kept_for_ever() {
    let shop = Shop::open().await;
    let html = shop.get("/docs/problems").await.text();
    let address = html
        .split('"')
        .find(|text| text.starts_with("/assets/shop."))
        .unwrap();
    let hashed = shop.get(address).await;
    assert_eq!(
        hashed.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    assert!(hashed.header("content-type").starts_with("text/css"));
    let plain = shop.get("/assets/shop.css").await;
    assert_eq!(plain.header("cache-control"), "public, max-age=300");
    assert_eq!(plain.body, hashed.body);
    let again = [("if-none-match", plain.header("etag"))];
    let again = shop.request("GET", "/assets/shop.css", &again, "").await;
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[tokio::test]
async fn what_is_long_is_compressed_under_a_tag_of_its_own() {
    let shop = Shop::open().await;
    let gzip = [("accept-encoding", "gzip")];
    let plain = shop.get("/api/openapi.json").await;
    let compressed = shop.request("GET", "/api/openapi.json", &gzip, "").await;
    assert_eq!(compressed.header("content-encoding"), "gzip");
    assert!(compressed.body.len() * 4 < plain.body.len());
    assert!(compressed.header("vary").contains("accept-encoding"));
    assert_eq!(
        compressed.header("etag"),
        plain.header("etag").trim_end_matches('"').to_owned() + "-gzip\""
    );
    let again = [
        ("accept-encoding", "gzip"),
        ("if-none-match", compressed.header("etag")),
    ];
    assert_eq!(
        shop.request("GET", "/api/openapi.json", &again, "")
            .await
            .status,
        304
    );
}
