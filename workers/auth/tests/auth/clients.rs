//! Clients and partners as staff see them.

use serde_json::json;
use shopzen_chassis::{Asking, clock};
use shopzen_contracts::auth::{
    clients::{AddClient, GetClient, ListClients, RevokeClient, RotateClientSecret, SetClientKeys},
    partners::{AddPartner, GetPartner, ListPartners, RevokePartner, RotatePartnerSecret},
};

use crate::{
    fixtures::{config, harness},
    registered::{acme, add, by_secret, claims, refused, request, staff, with_scope},
};

#[tokio::test]
async fn secrets_are_rotated_with_an_overlap_and_five_are_enough() {
    let auth = harness(config()).await;
    let first = add(&auth, &acme()).await;
    let rotate = async |overlap_s| {
        let command = RotateClientSecret {
            id: first.client.id,
            overlap_s,
        };
        auth.command(&command, &staff(&auth)).await.unwrap()
    };
    let second = rotate(None).await;
    request(&auth, by_secret(&first), None).await.unwrap();
    request(&auth, by_secret(&second), None).await.unwrap();
    let left = second.client.secrets[1].expires_at.unwrap();
    let left = left.duration_since(clock::now()).as_hours();
    assert!((23..=24).contains(&left), "{left}");
    assert_eq!(second.client.secrets[0].expires_at, None);

    let third = rotate(Some(0)).await;
    for old in [&first, &second] {
        let answer = request(&auth, by_secret(old), None).await;
        assert_eq!(refused(answer), (401, "invalid_client".to_owned()));
    }
    request(&auth, by_secret(&third), None).await.unwrap();
    for _ in 0..6 {
        rotate(None).await;
    }
    let last = rotate(None).await;
    assert_eq!(last.client.secrets.len(), 5);
    request(&auth, by_secret(&last), None).await.unwrap();
    let too_long = RotateClientSecret {
        id: first.client.id,
        overlap_s: Some(u32::MAX),
    };
    let answer = auth.command(&too_long, &staff(&auth)).await;
    assert_eq!(refused(answer), (422, "invalid_request".to_owned()));
}

#[tokio::test]
async fn nobody_registers_a_client_that_may_do_more_than_they_may() {
    let auth = harness(config()).await;
    let wanted = acme();
    for (scope, status) in [
        ("stock:write", 403),
        ("accounts:write", 403),
        ("accounts:write catalog:write", 403),
    ] {
        let answer = auth.command(&wanted, &with_scope(&auth, scope)).await;
        assert_eq!(answer.unwrap_err().status, status, "{scope}");
    }
    let answer = auth.command(&wanted, &Asking::default()).await;
    assert_eq!(answer.unwrap_err().status, 401);
    let added = add(&auth, &wanted).await;
    // Nor do they take over one that does.
    let few = with_scope(&auth, "accounts:write");
    let id = added.client.id;
    let rotate = RotateClientSecret {
        id,
        overlap_s: None,
    };
    assert_eq!(auth.command(&rotate, &few).await.unwrap_err().status, 403);
    let keys = SetClientKeys {
        id,
        keys: Vec::new(),
    };
    assert_eq!(auth.command(&keys, &few).await.unwrap_err().status, 403);
    auth.command(&RevokeClient { id }, &few).await.unwrap();
    let read = auth.query(&GetClient { id }, &few).await.unwrap();
    assert!(read.revoked_at.is_some());
}

#[tokio::test]
async fn a_name_is_used_once_and_what_is_wrong_is_said_field_by_field() {
    let auth = harness(config()).await;
    add(&auth, &acme()).await;
    let answer = auth.command(&acme(), &staff(&auth)).await;
    assert_eq!(refused(answer), (409, "client_exists".to_owned()));
    let wrong = AddClient {
        name: String::new(),
        grants: Vec::new(),
        scopes: vec!["root".to_owned()],
        ..acme()
    };
    let problem = auth.command(&wrong, &staff(&auth)).await.unwrap_err();
    let pointers: Vec<&str> = problem
        .errors
        .iter()
        .map(|it| it.pointer.as_str())
        .collect();
    assert_eq!(pointers, ["/name", "/grants", "/scopes/0"]);
    let private = AddClient {
        name: "Other".to_owned(),
        keys: vec![json!({ "kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "d" })],
        ..acme()
    };
    let problem = auth.command(&private, &staff(&auth)).await.unwrap_err();
    assert_eq!(problem.errors[0].pointer, "/keys/0");
}

#[tokio::test]
async fn clients_are_listed_page_by_page() {
    let auth = harness(config()).await;
    let mut added = Vec::new();
    for name in ["a", "b", "c"] {
        let wanted = AddClient {
            name: name.to_owned(),
            ..acme()
        };
        added.push(add(&auth, &wanted).await.client.id);
    }
    let mut list = ListClients {
        limit: Some(2),
        ..ListClients::default()
    };
    let first = auth.query(&list, &staff(&auth)).await.unwrap();
    list.cursor = first.next_cursor;
    let second = auth.query(&list, &staff(&auth)).await.unwrap();
    assert_eq!(second.next_cursor, None);
    let listed = first.items.iter().chain(&second.items).map(|it| it.id);
    assert_eq!(listed.collect::<Vec<_>>(), added);
    list.cursor = Some("x".to_owned());
    let answer = auth.query(&list, &staff(&auth)).await;
    assert_eq!(refused(answer), (400, "invalid_cursor".to_owned()));
}

#[tokio::test]
async fn partners_are_clients_that_act_for_themselves_and_others_look_after_them() {
    let auth = harness(config()).await;
    let by = with_scope(&auth, "partners:write stock:write");
    let wanted = AddPartner {
        name: "ACME".to_owned(),
        allow: vec!["stock:write".to_owned(), "orders:place".to_owned()],
    };
    let stranger = with_scope(&auth, "accounts:write stock:write");
    let answer = auth.command(&wanted, &stranger).await;
    assert_eq!(answer.unwrap_err().status, 403);
    let answer = auth.command(&wanted, &Asking::default()).await;
    assert_eq!(answer.unwrap_err().status, 401);
    let added = auth.command(&wanted, &by).await.unwrap();
    let id = added.client.id;
    let token = request(&auth, by_secret(&added), None).await.unwrap();
    let said = claims(&token.access_token);
    assert_eq!((said.sub, said.client_id), (id, id.to_string()));
    assert_eq!(said.scope, "orders:place stock:write");

    for allow in [vec!["ops:write".to_owned()], Vec::new()] {
        let wanted = AddPartner {
            name: "Other".to_owned(),
            allow,
        };
        let answer = auth.command(&wanted, &by).await;
        assert_eq!(refused(answer), (422, "invalid_request".to_owned()));
    }
    let more = AddPartner {
        name: "Other".to_owned(),
        allow: vec!["catalog:write".to_owned()],
    };
    assert_eq!(auth.command(&more, &by).await.unwrap_err().status, 403);

    let read = auth.query(&GetPartner { id }, &by).await.unwrap();
    assert_eq!(read, added.client);
    let listed = auth.query(&ListPartners::default(), &by).await.unwrap();
    assert_eq!(listed.items, [read]);
    let rotate = RotatePartnerSecret {
        id,
        overlap_s: Some(0),
    };
    let rotated = auth.command(&rotate, &by).await.unwrap();
    request(&auth, by_secret(&rotated), None).await.unwrap();
    let old = request(&auth, by_secret(&added), None).await;
    assert_eq!(refused(old), (401, "invalid_client".to_owned()));
    let answer = auth.command(&RevokePartner { id }, &stranger).await;
    assert_eq!(answer.unwrap_err().status, 403);
    for _ in 0..2 {
        let ended = auth.command(&RevokePartner { id }, &by).await.unwrap();
        assert!(ended.revoked_at.is_some());
    }
    let nobody = RevokePartner {
        id: clock::new_id(),
    };
    let answer = auth.command(&nobody, &by).await;
    assert_eq!(refused(answer), (404, "not_found".to_owned()));
}
