//! The token endpoint: which proof gives which token, and what becomes of tokens afterwards.

use shopzen_chassis::{Cx, Failure};
use shopzen_contracts::auth::IssuedToken;

use crate::{
    Auth, keys,
    token::{self, Subject},
};

/// A token as it is handed out.
pub(crate) async fn issue(
    cx: &mut Cx,
    auth: &Auth,
    subject: Subject<'_>,
) -> Result<IssuedToken, Failure> {
    let signer = keys::signer(cx.db(), auth).await?;
    let lifetime = auth.token_lifetime;
    let claims = token::claims(&auth.issuer, subject, cx.new_id(), cx.now(), lifetime);
    let access_token = signer.sign(&claims)?;
    tracing::info!(sub = %claims.sub, client_id = claims.client_id, jti = %claims.jti, "issued a token");
    Ok(IssuedToken {
        access_token,
        token_type: "Bearer".to_owned(),
        expires_in: lifetime.as_secs(),
        scope: claims.scope,
    })
}
