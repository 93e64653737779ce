//! Accounts elsewhere, at a provider that lies. How an honest one gets on with us is tested with one that others wrote
//! (`tests/end_to_end/providers.rs`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use shopzen_auth::{Config, ProviderConfig};
use shopzen_chassis::{Asking, Secret, clock, harness::Harness};
use shopzen_contracts::{
    Confidential, Problem,
    auth::identities::{
        AskProvider, BeginTrip, EndTrip, LinkIdentity, ListIdentities, ProviderSignIn,
        SignInByProvider, Trip, TripEnd, UnlinkIdentity,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use url::Url;

use crate::fixtures::{as_account, config, harness, signed_up};

const ADA: &str = "ada@lovelace.example";

/// A provider that answers what a test wants, whatever it is asked.
struct Liar {
    issuer: String,
    key: EncodingKey,
    answers: Arc<Mutex<HashMap<String, Value>>>,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the test, by its handle"
    )]
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let answers: Arc<Mutex<HashMap<String, Value>>> = Arc::default();
        let said = Arc::clone(&answers);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 8_192];
                let length = stream.read(&mut asked).await.unwrap();
                let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
                let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
                let body = said.lock().unwrap().get(&path).map(Value::to_string);
                let (status, body) = body.map_or((404, String::new()), |body| (200, body));
                let length = body.len();
                let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n");
                let answer = format!("{head}Connection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let pair =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let key = EncodingKey::from_ec_der(pair.unwrap().as_ref());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some("1".to_owned());
        let liar = Self {
            issuer,
            key,
            answers,
            task,
        };
        liar.says("/jwks", json!({ "keys": [jwk] }));
        liar.says("/.well-known/openid-configuration", liar.document());
        liar
    }

    fn says(&self, path: &str, what: Value) {
        self.answers.lock().unwrap().insert(path.to_owned(), what);
    }

    fn document(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer, "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"), "jwks_uri": at("/jwks"),
        })
    }

    fn configured(&self) -> Config {
        let provider = ProviderConfig {
            issuer: self.issuer.clone(),
            client_id: "shop".to_owned(),
            client_secret: Secret::new("secret"),
            title: "Liar".to_owned(),
        };
        Config {
            providers: BTreeMap::from([("liar".to_owned(), provider)]),
            ..config()
        }
    }

    fn claims(&self, nonce: &str, subject: &str) -> Value {
        let now = clock::now().as_second();
        json!({
            "iss": self.issuer, "aud": "shop", "sub": subject, "nonce": nonce, "iat": now,
            "exp": now + 600, "email": ADA, "email_verified": true, "name": "Ada",
        })
    }

    fn signed(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("1".to_owned());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    fn gives(&self, id_token: &str) {
        self.says(
            "/token",
            json!({ "id_token": id_token, "token_type": "Bearer" }),
        );
    }
}

async fn begin(harness: &Harness) -> Result<Trip, Problem> {
    let begin = BeginTrip {
        provider: "liar".to_owned(),
        return_to: "/account".to_owned(),
        is_to_link: false,
    };
    harness.query(&begin, &Asking::default()).await
}

fn asked(trip: &Trip, name: &str) -> String {
    let url = Url::parse(trip.location.expose()).unwrap();
    let mut pairs = url.query_pairs();
    pairs
        .find(|(known, _)| known == name)
        .unwrap()
        .1
        .into_owned()
}

async fn end(harness: &Harness, trip: &Trip) -> Confidential {
    let end = EndTrip {
        provider: "liar".to_owned(),
        trip: trip.trip.clone(),
        state: Confidential::new(asked(trip, "state")),
        iss: None,
        code: Some(Confidential::new("code")),
        error: None,
    };
    let once = Asking::default();
    match harness.command(&end, &once).await.unwrap() {
        TripEnd::Arrived { ticket, .. } => ticket,
        TripEnd::Declined { .. } => panic!("there was a code"),
    }
}

/// What the provider shows of somebody, where it is believed.
async fn shown(harness: &Harness, liar: &Liar, subject: &str) -> Confidential {
    let trip = begin(harness).await.unwrap();
    liar.gives(&liar.signed(&liar.claims(&asked(&trip, "nonce"), subject)));
    let ticket = end(harness, &trip).await;
    let asking = AskProvider { ticket };
    let shown = harness.query(&asking, &Asking::default()).await;
    shown.unwrap().identity
}

async fn sign_in(harness: &Harness, identity: &Confidential) -> Result<ProviderSignIn, Problem> {
    let wish = SignInByProvider {
        identity: identity.clone(),
        device: "Browser".to_owned(),
        instead_of: None,
    };
    harness.command(&wish, &Asking::default()).await
}

#[tokio::test]
async fn nothing_is_believed_that_was_not_signed_for_this_very_sign_in() {
    let liar = Liar::start().await;
    let harness = harness(liar.configured()).await;
    let encoded = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let changed = |name: &str, value: Value| {
        let name = name.to_owned();
        move |mut claims: Value| {
            claims[&name] = value.clone();
            claims
        }
    };
    let now = clock::now().as_second();
    for change in [
        changed("nonce", "another".into()),
        changed("aud", "another".into()),
        changed("iss", "https://evil.example".into()),
        changed("exp", (now - 3_600).into()),
        changed("iat", (now - 3_600).into()),
        changed("sub", "".into()),
    ] {
        let trip = begin(&harness).await.unwrap();
        let claims = change(liar.claims(&asked(&trip, "nonce"), "ada"));
        liar.gives(&liar.signed(&claims));
        let asking = AskProvider {
            ticket: end(&harness, &trip).await,
        };
        let problem = harness
            .query(&asking, &Asking::default())
            .await
            .unwrap_err();
        assert_eq!(problem.code, "provider_refused", "{claims}");
    }
    for algorithm in ["none", "HS256"] {
        let trip = begin(&harness).await.unwrap();
        let head = encoded(&json!({ "alg": algorithm, "kid": "1" }));
        let claims = encoded(&liar.claims(&asked(&trip, "nonce"), "ada"));
        liar.gives(&format!("{head}.{claims}.{}", encoded(&json!("x"))));
        let asking = AskProvider {
            ticket: end(&harness, &trip).await,
        };
        let problem = harness
            .query(&asking, &Asking::default())
            .await
            .unwrap_err();
        assert_eq!(problem.code, "provider_refused", "{algorithm}");
    }
    let made: i64 = sqlx::query_scalar("SELECT count(*) FROM identities")
        .fetch_one(harness.pool())
        .await
        .unwrap();
    assert_eq!(made, 0);
    shown(&harness, &liar, "ada").await;
}

#[tokio::test]
async fn a_document_of_another_issuer_or_that_leads_elsewhere_is_not_followed() {
    let liar = Liar::start().await;
    let harness = harness(liar.configured()).await;
    let document = "/.well-known/openid-configuration";
    for (name, value) in [
        ("issuer", "https://accounts.example".to_owned()),
        ("issuer", format!("{}/", liar.issuer)),
        ("token_endpoint", "http://169.254.169.254/token".to_owned()),
        ("jwks_uri", "file:///etc/passwd".to_owned()),
        ("authorization_endpoint", "https://evil.example".to_owned()),
    ] {
        let mut lie = liar.document();
        lie[name] = value.into();
        liar.says(document, lie.clone());
        let problem = begin(&harness).await.unwrap_err();
        let found = (problem.status, problem.code.as_str());
        assert_eq!(found, (503, "provider_unavailable"), "{lie}");
    }
    liar.says(document, json!("nonsense"));
    assert_eq!(begin(&harness).await.unwrap_err().status, 503);
    liar.says(document, liar.document());
    begin(&harness).await.unwrap();
}

#[tokio::test]
async fn what_a_trip_has_shown_counts_once_and_is_taken_for_nothing_else() {
    let liar = Liar::start().await;
    let harness = harness(liar.configured()).await;
    let identity = shown(&harness, &liar, "ada").await;
    let signed_in = sign_in(&harness, &identity).await.unwrap();
    let ProviderSignIn::SignedIn { session } = signed_in else {
        panic!("{signed_in:?}")
    };
    let problem = sign_in(&harness, &identity).await.unwrap_err();
    assert_eq!(problem.code, "trip_invalid");
    let trip = begin(&harness).await.unwrap();
    for other in [trip.trip.expose(), "x", ""] {
        let problem = sign_in(&harness, &Confidential::new(other))
            .await
            .unwrap_err();
        assert_eq!(problem.code, "trip_invalid");
    }
    // The only way in stays; with a second one each can be given up.
    let asking = as_account(&harness, &session).await;
    let first = harness.query(&ListIdentities {}, &asking).await.unwrap();
    assert!(!first.has_password);
    let unlink = UnlinkIdentity {
        id: first.items[0].id,
    };
    let problem = harness.command(&unlink, &asking).await.unwrap_err();
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (409, "last_way_in")
    );
    let identity = shown(&harness, &liar, "another of hers").await;
    let link = LinkIdentity { identity };
    harness.command(&link, &asking).await.unwrap();
    harness.command(&unlink, &asking).await.unwrap();
    let left = harness.query(&ListIdentities {}, &asking).await.unwrap();
    assert_eq!(left.items.len(), 1);
}

#[tokio::test]
async fn an_account_gets_another_way_in_from_who_has_just_signed_in_to_it() {
    let liar = Liar::start().await;
    let harness = harness(liar.configured()).await;
    let (ada, session) = signed_up(&harness, ADA).await;
    let identity = shown(&harness, &liar, "ada").await;
    // The address is hers, and still nothing is linked because the provider says so.
    let outcome = sign_in(&harness, &identity).await.unwrap();
    assert_eq!(outcome, ProviderSignIn::LinkFirst);
    let link = LinkIdentity { identity };
    let asking = as_account(&harness, &session).await;
    let an_hour_ago = "UPDATE sessions SET authenticated_at = now() - interval '1 hour'";
    sqlx::query(an_hour_ago)
        .execute(harness.pool())
        .await
        .unwrap();
    let app = Asking {
        identity: Some(harness.token(ada, "profile:write")),
        ..Asking::default()
    };
    for asking in [&Asking::default(), &asking, &app] {
        let problem = harness.command(&link, asking).await.unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (403, "sign_in_again")
        );
    }
    let now = "UPDATE sessions SET authenticated_at = now()";
    sqlx::query(now).execute(harness.pool()).await.unwrap();
    harness.command(&link, &asking).await.unwrap();
    let identity = shown(&harness, &liar, "ada").await;
    let outcome = sign_in(&harness, &identity).await.unwrap();
    assert!(
        matches!(outcome, ProviderSignIn::SignedIn { .. }),
        "{outcome:?}"
    );
    // Who has a second factor shows it there too.
    let app =
        "INSERT INTO totp_factors (account_id, sealed_secret, confirmed_at) VALUES ($1, '', now())";
    let app = sqlx::query(app).bind(ada).execute(harness.pool());
    app.await.unwrap();
    let identity = shown(&harness, &liar, "ada").await;
    let outcome = sign_in(&harness, &identity).await.unwrap();
    assert!(
        matches!(outcome, ProviderSignIn::SecondFactorNeeded { .. }),
        "{outcome:?}"
    );
}
