//! Who asks: nobody, an account of each role, an operator, and tokens that are not to be believed.

use anyhow::{Context, Result};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use shopzen_chassis::clock;
use shopzen_contracts::{Role, Scope, Service, auth::AUDIENCE};
use shopzen_tests::shop::{Shop, wait_for};
use sqlx::{Connection, PgConnection};

use super::nats::Nats;

pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) token: Option<String>,
    pub(crate) held: Held,
}

/// What a token is worth.
pub(crate) enum Held {
    Nothing,
    Scopes(Vec<Scope>),
    /// It is no good.
    Bad,
}

fn identity(name: impl Into<String>, token: impl Into<Option<String>>, held: Held) -> Identity {
    Identity {
        name: name.into(),
        token: token.into(),
        held,
    }
}

pub(crate) async fn all(shop: &Shop) -> Result<Vec<Identity>> {
    let mut all = vec![identity("nobody", None, Held::Nothing)];
    for role in Role::ALL {
        all.push(account_of(shop, role).await?);
    }
    let nats = Nats::connect(shop).await?;
    let operator = nats.operators_token().await?;
    all.push(identity(
        "an operator",
        operator,
        Held::Scopes(Role::Owner.scopes().into()),
    ));

    let owner = shop.token("staff@demo.test")?;
    all.push(identity("a forged token", forged(&owner)?, Held::Bad));
    let forge = Forge::with_a_key_of_the_shop(shop).await?;
    let good = forge.token(&json!({}))?;
    // Otherwise the others might be refused for a key that nobody knows.
    wait_for("everybody believes the forge", async || {
        nats.all_believe(&good).await
    })
    .await?;
    all.push(identity("the forge", good, Held::Scopes(Scope::ALL.into())));
    let now = clock::now().as_second();
    for (name, changes) in [
        (
            "an expired token",
            json!({ "exp": now - 60, "nbf": now - 660 }),
        ),
        ("a token for others", json!({ "aud": "somebody-else" })),
        (
            "a token of another issuer",
            json!({ "iss": "https://evil.example" }),
        ),
    ] {
        all.push(identity(name, forge.token(&changes)?, Held::Bad));
    }
    Ok(all)
}

async fn account_of(shop: &Shop, role: Role) -> Result<Identity> {
    let email = format!("{role}@matrix.test");
    let mut db = PgConnection::connect(&shop.database_url(Service::Auth.name())?).await?;
    let insert =
        "INSERT INTO accounts (id, email, name, scopes, roles) VALUES ($1, $2, $2, '{}', $3)";
    sqlx::query(insert)
        .bind(clock::new_id())
        .bind(&email)
        .bind([role.name()].as_slice())
        .execute(&mut db)
        .await?;
    let token = shop.token(&email)?;
    let name = format!("an account with the role {role}");
    Ok(identity(name, token, Held::Scopes(role.scopes().into())))
}

/// Another signature of the right form.
fn forged(token: &str) -> Result<String> {
    let (signed, signature) = token.rsplit_once('.').context("a token has parts")?;
    let mut signature = BASE64URL_NOPAD.decode(signature.as_bytes())?;
    signature[40] ^= 1;
    Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
}

/// Signs what it likes, with a key that the shop believes.
struct Forge {
    key: EncodingKey,
    header: Header,
    issuer: String,
}

impl Forge {
    async fn with_a_key_of_the_shop(shop: &Shop) -> Result<Self> {
        let pair =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let key = EncodingKey::from_ec_der(pair.ok().context("a key can be made")?.as_ref());
        let kid = "forge".to_owned();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        jwk.common.key_id = Some(kid.clone());
        let mut db = PgConnection::connect(&shop.database_url(Service::Auth.name())?).await?;
        let insert = "
            INSERT INTO signing_keys (kid, public_jwk, signs_from, believed_until)
            VALUES ($1, $2, now() - interval '1 hour', now() + interval '1 hour')
        ";
        let insert = sqlx::query(insert)
            .bind(&kid)
            .bind(serde_json::to_value(&jwk)?);
        insert.execute(&mut db).await?;
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(kid);
        let issuer = shop.url("");
        Ok(Self {
            key,
            header,
            issuer,
        })
    }

    fn token(&self, changes: &Value) -> Result<String> {
        let now = clock::now().as_second();
        let scopes = Scope::ALL.map(Scope::name).join(" ");
        let mut claims = json!({
            "iss": self.issuer, "aud": AUDIENCE, "sub": clock::new_id(), "jti": clock::new_id(),
            "iat": now, "nbf": now, "exp": now + 600, "client_id": "forge", "scope": scopes,
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.key)?)
    }
}
