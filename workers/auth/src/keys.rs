//! The life of a signing key: it is published, signs once everybody knows it, and is believed until the last token
//! that it signed has expired.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use serde_json::json;
use shopzen_chassis::{Act, Answers, Cx, Failure, Request};
use shopzen_contracts::auth::{RotateSigningKeys, SigningKeys};
use sqlx::PgConnection;

use crate::{
    Auth, Signing, store,
    token::{self, Signer},
};

/// How long a key is published before it signs: longer than anybody keeps a copy of the keys.
const PUBLISHED_BEFORE_USE: Duration = Duration::from_mins(10);
/// What believes a token may have a clock behind ours, and a token may be issued while its key retires.
const MARGIN: Duration = Duration::from_mins(1);
/// How often keys are looked after.
pub(crate) const LOOK_AFTER_EVERY: Duration = Duration::from_secs(30);

/// Makes a signing key where there is none, and sees whether it can be used.
pub(crate) async fn at_start(cx: &mut Cx, auth: &Auth) -> Result<bool, Failure> {
    if auth.issuer.is_empty() {
        return Err(Failure::Inconsistent(
            "auth.issuer is needed: the address under which the shop is reached, which tokens name"
                .to_owned(),
        ));
    }
    store::lock_keys(cx.db()).await?;
    if store::find_signing_key(cx.db()).await?.is_none() {
        make(cx, auth, Duration::ZERO).await?;
    }
    signer(cx.db(), &auth.signing).await?;
    Ok(false)
}

/// Retires keys that have a successor, forgets those that nobody believes any more, and makes the next one in time.
pub(crate) async fn look_after(cx: &mut Cx, auth: &Auth) -> Result<bool, Failure> {
    store::lock_keys(cx.db()).await?;
    let believed_for = auth.token_lifetime + MARGIN;
    store::retire_keys(cx.db(), believed_for).await?;
    store::retire_unsealed_keys(cx.db(), believed_for).await?;
    store::forget_keys(cx.db()).await?;
    store::revocations::forget_revocations(cx.db(), believed_for).await?;
    store::clients::forget_credentials(cx.db()).await?;
    store::connections::forget_ended_connections(cx.db()).await?;
    if let Some(period) = auth.key_rotation
        && store::is_time_for_a_key(cx.db(), period).await?
    {
        make(cx, auth, PUBLISHED_BEFORE_USE).await?;
    }
    Ok(false)
}

pub(crate) async fn rotate(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<RotateSigningKeys>],
) -> Answers<SigningKeys> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        store::lock_keys(cx.db()).await?;
        if request.body.withdraw {
            let withdrawn = store::withdraw_keys(cx.db()).await?;
            tracing::warn!(withdrawn, "signing keys were withdrawn");
            make(cx, auth, Duration::ZERO).await?;
        } else if !store::has_next_key(cx.db()).await? {
            make(cx, auth, PUBLISHED_BEFORE_USE).await?;
        }
        let items = store::find_keys(cx.db()).await?;
        let act = Act::on("signing keys").to(&json!({ "withdrawn": request.body.withdraw }));
        cx.record(request, act);
        answers.push(Ok(SigningKeys { items }));
    }
    Ok(answers)
}

/// What signs now.
pub(crate) async fn signer(
    db: &mut PgConnection,
    signing: &Signing,
) -> Result<Arc<Signer>, Failure> {
    let key = store::find_signing_key(db).await?;
    let key = key.ok_or_else(|| token::unusable("there is none"))?;
    let mut known = signing
        .signer
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(signer) = known.as_ref().filter(|signer| signer.kid == key.kid) {
        return Ok(Arc::clone(signer));
    }
    let private_key = signing.seal()?.open(&key.kid, &key.sealed).ok_or_else(|| {
        token::unusable(
            "auth.key_encryption_key is not what it was sealed with. Set that one; or, where it is lost, delete all \
             rows of signing_keys in this worker's database, after which everybody has to sign in again",
        )
    })?;
    let signer = Arc::new(Signer::new(key.kid, &private_key));
    *known = Some(Arc::clone(&signer));
    Ok(signer)
}

async fn make(cx: &mut Cx, auth: &Auth, signs_after: Duration) -> Result<(), Failure> {
    let key = token::new_key()?;
    let sealed = auth.signing.seal()?.close(&key.kid, &key.private_key)?;
    store::insert_key(cx.db(), &key, &sealed, signs_after).await?;
    tracing::info!(
        kid = key.kid,
        signs_after_s = signs_after.as_secs(),
        "made a signing key"
    );
    Ok(())
}
