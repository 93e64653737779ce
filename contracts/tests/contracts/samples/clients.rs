//! What the samples of OAuth clients say.

use serde_json::json;
use shopzen_contracts::{
    Confidential,
    auth::{
        IssuedToken,
        clients::{
            AddClient, Client, ClientAndSecret, ClientProof, ClientSecret, Clients, GetClient,
            GetMetadata, Grant, GrantType, IntrospectToken, Introspection, ListClients, Metadata,
            RequestToken, RevokeClient, RevokeToken, RotateClientSecret, SetClientKeys,
            TokenRevoked,
        },
        partners::{AddPartner, GetPartner, ListPartners, RevokePartner, RotatePartnerSecret},
    },
};

use super::{
    Samples,
    values::{id, noon},
};

const TOKEN: &str = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.e30.c2ln";

pub(super) fn add(samples: &mut Samples) {
    tokens(samples);
    samples.query(&GetMetadata {}, &metadata());
    let given = ClientAndSecret {
        client: client(),
        client_secret: Some("szs_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned()),
    };
    let wanted = AddClient {
        name: client().name,
        grants: client().grants,
        redirect_uris: client().redirect_uris,
        scopes: client().scopes,
        is_trusted: true,
        is_public: false,
        keys: vec![key()],
    };
    samples.command(&wanted, &given);
    let rotate = RotateClientSecret {
        id: id(7),
        overlap_s: Some(3_600),
    };
    samples.command(&rotate, &given);
    let set = SetClientKeys {
        id: id(7),
        keys: vec![key()],
    };
    samples.command(&set, &client());
    samples.query(&GetClient { id: id(7) }, &client());
    let list = ListClients {
        revoked: true,
        limit: Some(1),
        cursor: Some(id(6).to_string()),
    };
    let page = Clients {
        items: vec![client()],
        next_cursor: Some(id(7).to_string()),
    };
    samples.query(&list, &page);
    let revoked = Client {
        secrets: Vec::new(),
        keys: Vec::new(),
        revoked_at: Some(noon()),
        ..client()
    };
    samples.command(&RevokeClient { id: id(7) }, &revoked);
    partners(samples, &given, &revoked);
}

fn partners(samples: &mut Samples, given: &ClientAndSecret, revoked: &Client) {
    let wanted = AddPartner {
        name: client().name,
        allow: client().scopes,
    };
    samples.command(&wanted, given);
    let rotate = RotatePartnerSecret {
        id: id(7),
        overlap_s: Some(3_600),
    };
    samples.command(&rotate, given);
    samples.query(&GetPartner { id: id(7) }, &client());
    let list = ListPartners {
        revoked: true,
        limit: Some(1),
        cursor: Some(id(6).to_string()),
    };
    let page = Clients {
        items: vec![client()],
        next_cursor: Some(id(7).to_string()),
    };
    samples.query(&list, &page);
    samples.command(&RevokePartner { id: id(7) }, revoked);
}

fn tokens(samples: &mut Samples) {
    let by_secret = ClientProof::Secret {
        client_id: id(7).to_string(),
        secret: "szs_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned(),
    };
    let by_assertion = ClientProof::Assertion {
        client_id: Some(id(7).to_string()),
        assertion: TOKEN.to_owned(),
    };
    let asked = RequestToken {
        client: by_assertion,
        grant: Grant::ClientCredentials {
            scope: Some("stock:write".to_owned()),
        },
    };
    let issued = IssuedToken {
        access_token: TOKEN.to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: 600,
        scope: "stock:write".to_owned(),
        refresh_token: Some(Confidential::new(
            "8xLOxBtZp8ahJ0uVwTq4Cg5dP2wEYrJkM3nRsQbFzXo",
        )),
        id_token: Some("eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.e30.c2ln".to_owned()),
    };
    samples.command(&asked, &issued);
    let given_back = RevokeToken {
        client: by_secret.clone(),
        token: TOKEN.to_owned(),
    };
    samples.command(&given_back, &TokenRevoked {});
    let introspect = IntrospectToken {
        client: by_secret,
        token: TOKEN.to_owned(),
    };
    let said = Introspection {
        active: true,
        scope: Some("stock:write".to_owned()),
        client_id: Some(id(7).to_string()),
        token_type: Some("Bearer".to_owned()),
        exp: Some(1_795_520_400),
        iat: Some(1_795_519_800),
        nbf: Some(1_795_519_800),
        sub: Some(id(7)),
        aud: Some("shopzen".to_owned()),
        iss: Some("https://shop.example".to_owned()),
        jti: Some(id(8)),
    };
    samples.command(&introspect, &said);
}

fn client() -> Client {
    Client {
        id: id(7),
        name: "ACME".to_owned(),
        grants: vec![GrantType::ClientCredentials],
        redirect_uris: vec!["https://acme.example/back".to_owned()],
        scopes: vec!["orders:place".to_owned(), "stock:write".to_owned()],
        is_trusted: true,
        is_public: false,
        secrets: vec![ClientSecret {
            id: id(9),
            created_at: noon(),
            expires_at: Some(noon()),
        }],
        keys: vec!["2026-11".to_owned()],
        created_at: noon(),
        revoked_at: None,
    }
}

fn key() -> serde_json::Value {
    json!({
        "kty": "EC",
        "crv": "P-256",
        "kid": "2026-11",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

fn metadata() -> Metadata {
    let at = |path: &str| format!("https://shop.example{path}");
    let one = |text: &str| vec![text.to_owned()];
    Metadata {
        issuer: at(""),
        authorization_endpoint: at("/oauth2/authorize"),
        token_endpoint: at("/oauth2/token"),
        userinfo_endpoint: at("/oauth2/userinfo"),
        revocation_endpoint: at("/oauth2/revoke"),
        introspection_endpoint: at("/oauth2/introspect"),
        jwks_uri: at("/.well-known/jwks.json"),
        scopes_supported: one("stock:write"),
        response_types_supported: one("code"),
        response_modes_supported: one("query"),
        code_challenge_methods_supported: one("S256"),
        prompt_values_supported: one("none"),
        subject_types_supported: one("public"),
        id_token_signing_alg_values_supported: one("ES256"),
        claims_supported: one("sub"),
        authorization_response_iss_parameter_supported: true,
        request_uri_parameter_supported: false,
        grant_types_supported: one("client_credentials"),
        token_endpoint_auth_methods_supported: one("private_key_jwt"),
        token_endpoint_auth_signing_alg_values_supported: one("ES256"),
        revocation_endpoint_auth_methods_supported: one("private_key_jwt"),
        revocation_endpoint_auth_signing_alg_values_supported: one("ES256"),
        introspection_endpoint_auth_methods_supported: one("private_key_jwt"),
        introspection_endpoint_auth_signing_alg_values_supported: one("ES256"),
        service_documentation: at("/docs"),
    }
}
