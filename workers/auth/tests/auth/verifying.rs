//! What another worker believes, which has the keys from a running auth worker and from nobody else.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use shopzen_auth::worker;
use shopzen_chassis::{
    Asker, Asking, Bus, Process, Refused, Request, Secret, Worker, clock, harness::Harness,
};
use shopzen_contracts::{
    Problem, Service, Sku,
    auth::{GetTrust, IssueToken},
    stock::{ListMovements, Movements},
};
use shopzen_test_servers::servers;
use sqlx::{PgPool, migrate::Migrator};

use crate::{
    attacks,
    fixtures::{ISSUER, bus, config, eventually, harness},
};

/// A worker that only staff may ask.
async fn guarded(bus: &Bus) -> Harness {
    static NONE: Migrator = Migrator::DEFAULT;
    async fn movements(
        _: &PgPool,
        (): &(),
        _: &Request<ListMovements>,
    ) -> Result<Movements, Refused> {
        Ok(Movements {
            items: Vec::new(),
            next_cursor: None,
        })
    }
    let database = shopzen_chassis::DatabaseConfig {
        database_url: Secret::new(servers().database_url()),
        ..Default::default()
    };
    let worker = Worker::builder(Service::Stock, &NONE, database, ())
        .answer::<ListMovements, _>(movements)
        .build();
    Harness::start(worker, bus)
        .await
        .expect("the worker starts")
}

/// The status a worker answers who shows this token: 200 where it believes it.
pub(crate) async fn status(guarded: &Harness, token: &str) -> u16 {
    let query = ListMovements {
        sku: Sku::parse("A").expect("it is a SKU"),
        limit: None,
        cursor: None,
    };
    let asking = Asking {
        identity: Some(token.to_owned()),
        ..Asking::default()
    };
    match guarded.query(&query, &asking).await {
        Ok(_) => 200,
        Err(Problem { status, .. }) => status,
    }
}

fn encoded(json: &Value) -> String {
    BASE64URL_NOPAD.encode(json.to_string().as_bytes())
}

/// Everything that is needed to make tokens as auth does, and a little differently.
pub(crate) struct Forge {
    pub(crate) key: EncodingKey,
    pub(crate) public_jwk: Value,
    pub(crate) header: Header,
    pub(crate) claims: Value,
}

impl Forge {
    /// With a key that auth signed with once, and that somebody has kept. Those it has now are sealed.
    pub(crate) async fn with_old_key(auth: &PgPool) -> Self {
        let pair = EcdsaKeyPair::generate_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &aws_lc_rs::rand::SystemRandom::new(),
        );
        let key = EncodingKey::from_ec_der(pair.expect("a key can be generated").as_ref());
        let kid = "old".to_owned();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("it has a public half");
        jwk.common.key_id = Some(kid.clone());
        let public_jwk = serde_json::to_value(&jwk).expect("it is plain data");
        sqlx::query(
            "
            INSERT INTO signing_keys (kid, public_jwk, signs_from, believed_until)
            VALUES ($1, $2, now() - interval '1 hour', now() + interval '1 hour')
            ",
        )
        .bind(&kid)
        .bind(&public_jwk)
        .execute(auth)
        .await
        .expect("it can be put in");
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(kid);
        let now = clock::now().as_second();
        let claims = json!({
            "iss": ISSUER, "aud": "shopzen", "sub": clock::new_id(), "jti": clock::new_id(),
            "iat": now, "nbf": now, "exp": now + 600, "client_id": "test", "scope": "stock:write",
        });
        Self {
            key,
            public_jwk,
            header,
            claims,
        }
    }

    /// A token with some claims changed.
    pub(crate) fn with_claims(&self, changes: Value) -> String {
        let mut claims = self.claims.clone();
        let Value::Object(changes) = changes else {
            panic!("changes are an object")
        };
        for (name, value) in changes {
            if value.is_null() {
                claims
                    .as_object_mut()
                    .expect("claims are an object")
                    .remove(&name);
            } else {
                claims[name] = value;
            }
        }
        jsonwebtoken::encode(&self.header, &claims, &self.key).expect("it can be signed")
    }

    /// A token with another header.
    pub(crate) fn with_header(&self, change: impl FnOnce(&mut Header)) -> String {
        let mut header = self.header.clone();
        change(&mut header);
        jsonwebtoken::encode(&header, &self.claims, &self.key).expect("it can be signed")
    }

    /// What a header looks like that names another algorithm.
    fn head(&self, algorithm: &str) -> String {
        encoded(&json!({ "typ": "at+jwt", "alg": algorithm, "kid": self.header.kid }))
    }

    /// Signed with what everybody knows, in the hope that it is taken for a shared secret.
    fn with_secret(&self, secret: &[u8]) -> String {
        let mut header = self.header.clone();
        header.alg = Algorithm::HS256;
        jsonwebtoken::encode(&header, &self.claims, &EncodingKey::from_secret(secret))
            .expect("it can be signed")
    }

    /// Rightly signed, and still not to be believed.
    fn wrong_claims(&self) -> Vec<(&'static str, String)> {
        let now = clock::now().as_second();
        vec![
            ("expired", self.with_claims(json!({ "exp": now - 60 }))),
            ("expires never", self.with_claims(json!({ "exp": null }))),
            (
                "expires as text (CVE-2026-25537)",
                self.with_claims(json!({ "exp": "9999999999" })),
            ),
            ("not yet good", self.with_claims(json!({ "nbf": now + 60 }))),
            (
                "good from never on",
                self.with_claims(json!({ "nbf": null })),
            ),
            (
                "good from a text on",
                self.with_claims(json!({ "nbf": "0" })),
            ),
            (
                "for somebody else",
                self.with_claims(json!({ "aud": "other" })),
            ),
            ("for nobody", self.with_claims(json!({ "aud": null }))),
            (
                "for many",
                self.with_claims(json!({ "aud": ["shopzen", "other"] })),
            ),
            (
                "from somebody else",
                self.with_claims(json!({ "iss": "https://evil.example" })),
            ),
            ("from nobody", self.with_claims(json!({ "iss": null }))),
            ("about nobody", self.with_claims(json!({ "sub": null }))),
            (
                "about no account",
                self.with_claims(json!({ "sub": "staff" })),
            ),
            (
                "oversize",
                self.with_claims(json!({ "client_id": "x".repeat(4_096) })),
            ),
        ]
    }

    /// Of another kind, or signed with something else.
    fn wrong_keys(&self) -> Vec<(&'static str, String)> {
        let coordinate = |name: &str| {
            let text = self.public_jwk[name]
                .as_str()
                .expect("a coordinate is text");
            BASE64URL_NOPAD
                .decode(text.as_bytes())
                .expect("it is base64url")
        };
        let point = [coordinate("x"), coordinate("y")].concat();
        let document = EcdsaKeyPair::generate_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &aws_lc_rs::rand::SystemRandom::new(),
        )
        .expect("a key can be generated");
        let other = EncodingKey::from_ec_der(document.as_ref());
        let by_other = jsonwebtoken::encode(&self.header, &self.claims, &other);
        vec![
            (
                "another type",
                self.with_header(|header| header.typ = Some("JWT".to_owned())),
            ),
            (
                "an ID token",
                self.with_header(|header| header.typ = Some("id_token".to_owned())),
            ),
            ("no type", self.with_header(|header| header.typ = None)),
            ("no key id", self.with_header(|header| header.kid = None)),
            (
                "a made-up key id",
                self.with_header(|header| header.kid = Some("../key".to_owned())),
            ),
            ("another key", by_other.expect("it can be signed")),
            (
                "HS256 with the key as JSON",
                self.with_secret(self.public_jwk.to_string().as_bytes()),
            ),
            ("HS256 with the key as a point", self.with_secret(&point)),
            ("HS256 with nothing", self.with_secret(b"")),
        ]
    }

    /// Good once, and changed afterwards.
    fn tampered(&self) -> Vec<(&'static str, String)> {
        let good = self.with_claims(json!({}));
        let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
            panic!("a token has three parts")
        };
        let mut claims = self.claims.clone();
        claims["scope"] = "stock:write catalog:write".into();
        let more_scopes = encoded(&claims);
        let mut bytes = BASE64URL_NOPAD
            .decode(signature.as_bytes())
            .expect("it is base64url");
        bytes[40] ^= 1;
        let flipped = BASE64URL_NOPAD.encode(&bytes);
        let zeros = BASE64URL_NOPAD.encode(&[0; 64]);
        vec![
            ("alg none", format!("{}.{body}.", self.head("none"))),
            ("alg None", format!("{}.{body}.", self.head("None"))),
            (
                "alg none, signed",
                format!("{}.{body}.{signature}", self.head("none")),
            ),
            (
                "alg ES384",
                format!("{}.{body}.{signature}", self.head("ES384")),
            ),
            (
                "alg EdDSA",
                format!("{}.{body}.{signature}", self.head("EdDSA")),
            ),
            ("more scopes", format!("{head}.{more_scopes}.{signature}")),
            ("a flipped bit", format!("{head}.{body}.{flipped}")),
            (
                "zeros for a signature (CVE-2022-21449)",
                format!("{head}.{body}.{zeros}"),
            ),
            ("no signature", format!("{head}.{body}.")),
            ("two parts", format!("{head}.{body}")),
            ("four parts", format!("{good}.{signature}")),
            ("a letter before", format!("x{good}")),
            ("blanks around", format!(" {good} ")),
            ("padded", format!("{good}==")),
            ("with its scheme", format!("Bearer {good}")),
            ("nothing", String::new()),
            ("dots", "..".to_owned()),
            ("JSON", self.claims.to_string()),
        ]
    }
}

/// The auth worker, running until the test is over.
#[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
async fn run_auth(bus: &Bus) -> Harness {
    let config = config();
    let auth = harness(config.clone()).await;
    let own_bus = bus.clone();
    tokio::spawn(async move {
        worker(config)
            .run(own_bus, &Process::default())
            .await
            .expect("the worker starts");
    });
    let asker = Asker::new(bus.clone());
    eventually("auth answers", async || {
        asker.query(&GetTrust {}, &Asking::default()).await.is_ok()
    })
    .await;
    auth
}

#[tokio::test]
async fn a_worker_believes_what_auth_signed_and_nothing_else() {
    let bus = bus().await;
    let auth = run_auth(&bus).await;
    let guarded = guarded(&bus).await;
    let forge = Forge::with_old_key(auth.pool()).await;

    // Issued over the broker, as `shopzen token` does it.
    let issue = async |email: &str| {
        let command = IssueToken {
            email: email.to_owned(),
        };
        let asker = Asker::new(bus.clone());
        asker
            .command(&command, &Asking::default())
            .await
            .expect("the account exists")
            .access_token
    };
    assert_eq!(status(&guarded, &issue("staff@demo.test").await).await, 200);
    assert_eq!(
        status(&guarded, &issue("shopper@demo.test").await).await,
        403
    );

    assert_eq!(
        status(&guarded, &forge.with_claims(json!({}))).await,
        200,
        "the forge works"
    );
    let forgeries = [forge.wrong_claims(), forge.wrong_keys(), forge.tampered()];
    for (what, token) in forgeries.into_iter().flatten() {
        assert_eq!(status(&guarded, &token).await, 401, "{what}: {token}");
    }
    attacks::fail(&guarded, &forge).await;
    attacks::a_mirrored_signature_says_nothing_new(&guarded, &forge).await;
    attacks::a_token_has_a_largest_size(&guarded, &forge).await;
    assert_eq!(
        status(&guarded, &forge.with_claims(json!({}))).await,
        200,
        "and nothing was hurt"
    );

    // What was believed is not believed for ever. Clocks may differ by five seconds.
    let token = forge.with_claims(json!({ "exp": clock::now().as_second() - 3 }));
    assert_eq!(status(&guarded, &token).await, 200);
    eventually("it expires", async || status(&guarded, &token).await == 401).await;
}
