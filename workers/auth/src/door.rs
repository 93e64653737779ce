//! Partners on NATS: who is let in, by an access token or by id and secret, and whose connections are cut.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use shopzen_chassis::{Admission, Connection, Door, Failure, Knock, Secret, clock};
use shopzen_contracts::auth::partners::CONNECTION_TYPE;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    Signing, keys,
    partners::PARTNERS,
    proof::Proven,
    secrets,
    store::{
        self,
        clients::ShownSecret,
        connections::{self, NewConnection},
    },
    token::{self, Subject},
};

/// How often one partner may come in within the time that a connection lasts: a tenth of what all may have at once.
const CONNECTIONS_MAX: i64 = 100;
/// Connections that are cut at once.
const CUT_MAX: i64 = 1_000;

/// Lets partners in.
#[derive(Debug)]
pub(crate) struct PartnersDoor {
    pub(crate) issuer: String,
    /// A connection by a secret lasts as long as a token would; clients connect again by themselves.
    pub(crate) lasts: Duration,
    pub(crate) signing: Arc<Signing>,
}

/// Somebody who may come in.
struct Known {
    proven: Proven,
    jti: Option<Uuid>,
    lasts: Duration,
}

impl Door for PartnersDoor {
    fn admit<'a>(
        &'a self,
        db: &'a PgPool,
        knock: &'a Knock,
    ) -> BoxFuture<'a, Result<Option<Admission>, Failure>> {
        async move {
            let mut db = db.acquire().await?;
            let known = match (&knock.token, &knock.user, &knock.password) {
                (Some(token), _, _) => self.by_token(&mut db, token).await?,
                (None, Some(user), Some(password)) => {
                    self.by_secret(&mut db, user, password).await?
                }
                _ => None,
            };
            let known = known.filter(|known| PARTNERS.is_of(&known.proven.grants));
            let Some(Known { proven, jti, lasts }) = known else {
                return Ok(None);
            };
            let new = NewConnection {
                connection: &knock.connection,
                client_id: proven.id,
                credential_id: proven.credential,
                jti,
                lasts,
            };
            if !connections::insert_connection(&mut db, &new, CONNECTIONS_MAX).await? {
                tracing::warn!(client_id = %proven.id, "a partner connects too often");
                return Ok(None);
            }
            let name = self.name(&mut db, &proven, lasts).await?;
            tracing::info!(client_id = %proven.id, "let a partner in");
            Ok(Some(Admission {
                client_id: proven.id,
                name: Secret::new(name),
                scopes: proven.scopes,
                until: clock::now() + lasts,
            }))
        }
        .boxed()
    }

    fn to_cut<'a>(&'a self, db: &'a PgPool) -> BoxFuture<'a, Result<Vec<Connection>, Failure>> {
        async move {
            let mut db = db.acquire().await?;
            connections::find_withdrawn_connections(&mut db, CUT_MAX).await
        }
        .boxed()
    }

    fn were_cut<'a>(
        &'a self,
        db: &'a PgPool,
        cut: &'a [Connection],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let mut db = db.acquire().await?;
            connections::forget_connections(&mut db, cut).await
        }
        .boxed()
    }
}

impl PartnersDoor {
    /// What the connection is called, which every worker can verify.
    async fn name(
        &self,
        db: &mut PgConnection,
        proven: &Proven,
        lasts: Duration,
    ) -> Result<String, Failure> {
        let signer = keys::signer(db, &self.signing).await?;
        let subject = Subject {
            id: proven.id,
            client_id: &proven.id.to_string(),
            sid: Some(proven.credential),
            scope: proven.scopes.join(" "),
        };
        let (jti, now) = (clock::new_id(), clock::now());
        let claims = token::claims(&self.issuer, subject, jti, now, lasts);
        signer.sign_as(CONNECTION_TYPE, &claims)
    }

    async fn by_token(&self, db: &mut PgConnection, token: &str) -> Result<Option<Known>, Failure> {
        let Some(kid) = token::key_id(token) else {
            return Ok(None);
        };
        let key = store::revocations::find_public_key(db, &kid).await?;
        let Some(claims) = key.and_then(|key| token::read(token, &key, &self.issuer)) else {
            return Ok(None);
        };
        let ids: Vec<_> = claims.ids().collect();
        // Its own, not one that somebody let it act with.
        let is_own = claims.client_id == claims.sub.to_string();
        if !is_own || store::revocations::is_any_revoked(db, &ids).await? {
            return Ok(None);
        }
        let credential = claims.sid.unwrap_or(claims.jti);
        let client = connections::find_client_in_use(db, claims.sub, credential).await?;
        let left = claims
            .exp
            .saturating_sub(u64::try_from(clock::now().as_second()).unwrap_or(u64::MAX));
        Ok(client.map(|client| Known {
            proven: Proven {
                scopes: claims.scope.split(' ').map(str::to_owned).collect(),
                ..client
            },
            jti: Some(claims.jti),
            lasts: Duration::from_secs(left),
        }))
    }

    async fn by_secret(
        &self,
        db: &mut PgConnection,
        user: &str,
        password: &str,
    ) -> Result<Option<Known>, Failure> {
        let Ok(client_id) = user.parse() else {
            return Ok(None);
        };
        let shown = ShownSecret {
            client_id,
            hash: secrets::hash(password),
        };
        let found = store::clients::find_proven(db, &[shown]).await?;
        let proven = found.into_iter().flatten().next();
        Ok(proven.map(|proven| Known {
            proven,
            jti: None,
            lasts: self.lasts,
        }))
    }
}
