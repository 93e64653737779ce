//! The token endpoint: which proof gives which token, and what becomes of tokens afterwards.
//!
//! A kind of grant is a variant of [`Grant`] and an arm in [`grant`]; whoever asks has been proved by then.

mod people;

use shopzen_chassis::{Answers, Cx, Failure, Request};
use shopzen_contracts::{
    Problem,
    auth::{
        Claims, IssuedToken,
        clients::{
            ClientProof, Grant, IntrospectToken, Introspection, RequestToken, RevokeToken,
            TokenRevoked,
        },
    },
};

use crate::{
    Auth, keys,
    proof::{Proven, prove},
    store,
    token::{self, Subject},
};

pub(crate) use people::CODES_KEPT_FOR;

/// What was withdrawn and may be told to every worker. Half of it is kept for those of whom staff or an account
/// withdraws something, so that no client can fill it with its own tokens.
pub(crate) const REVOCATIONS_MAX: u32 = 20_000;

/// A token as it is handed out.
pub(crate) async fn issue(
    cx: &mut Cx,
    auth: &Auth,
    subject: Subject<'_>,
) -> Result<IssuedToken, Failure> {
    let signer = keys::signer(cx.db(), &auth.signing).await?;
    let lifetime = auth.token_lifetime;
    let claims = token::claims(&auth.issuer, subject, cx.new_id(), cx.now(), lifetime);
    let access_token = signer.sign(&claims)?;
    tracing::info!(sub = %claims.sub, client_id = claims.client_id, jti = %claims.jti, "issued a token");
    Ok(IssuedToken {
        access_token,
        token_type: "Bearer".to_owned(),
        expires_in: lifetime.as_secs(),
        scope: claims.scope,
        refresh_token: None,
        id_token: None,
    })
}

pub(crate) async fn request_token(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<RequestToken>],
) -> Answers<IssuedToken> {
    let proofs: Vec<&ClientProof> = requests.iter().map(|it| &it.body.client).collect();
    let mut answers = Vec::with_capacity(requests.len());
    for (request, proven) in requests.iter().zip(prove(cx, auth, &proofs).await?) {
        answers.push(match proven {
            Ok(client) => grant(cx, auth, &client, &request.body.grant).await?,
            Err(problem) => Err(problem),
        });
    }
    Ok(answers)
}

async fn grant(
    cx: &mut Cx,
    auth: &Auth,
    client: &Proven,
    asked: &Grant,
) -> Result<Result<IssuedToken, Problem>, Failure> {
    let kind = asked.kind().as_str();
    if !client.grants.iter().any(|grant| grant == kind) {
        let why = format!("this client may not use the grant {kind}");
        return Ok(Err(Problem::new(400, "unauthorized_client", why)));
    }
    match asked {
        Grant::ClientCredentials { scope } => {
            let scope = match narrowed(&client.scopes, scope.as_deref()) {
                Ok(scope) => scope,
                Err(problem) => return Ok(Err(problem)),
            };
            let subject = Subject {
                id: client.id,
                client_id: &client.id.to_string(),
                sid: Some(client.credential),
                scope,
            };
            Ok(Ok(issue(cx, auth, subject).await?))
        }
        Grant::AuthorizationCode {
            code,
            redirect_uri,
            code_verifier,
        } => {
            let (redirect_uri, verifier) = (redirect_uri.as_deref(), code_verifier.as_ref());
            people::by_code(cx, auth, client, code, redirect_uri, verifier).await
        }
        Grant::RefreshToken {
            refresh_token,
            scope,
        } => people::by_refresh(cx, auth, client, refresh_token, scope.as_deref()).await,
    }
}

/// The scopes that are asked for, where all of them are held; without any, all that are held (RFC 6749, 3.3).
fn narrowed(held: &[String], asked: Option<&str>) -> Result<String, Problem> {
    let Some(asked) = asked else {
        return Ok(held.join(" "));
    };
    let asked: Vec<&str> = asked.split(' ').filter(|scope| !scope.is_empty()).collect();
    let is_held = |scope: &&str| held.iter().any(|held| held == scope);
    if asked.is_empty() || !asked.iter().all(is_held) {
        let why = format!("this client has no other scopes than: {}", held.join(" "));
        return Err(Problem::new(400, "invalid_scope", why));
    }
    let mut asked = asked;
    asked.sort_unstable();
    asked.dedup();
    Ok(asked.join(" "))
}

pub(crate) async fn revoke_token(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<RevokeToken>],
) -> Answers<TokenRevoked> {
    let proofs: Vec<&ClientProof> = requests.iter().map(|it| &it.body.client).collect();
    let mut answers = Vec::with_capacity(requests.len());
    for (request, proven) in requests.iter().zip(prove(cx, auth, &proofs).await?) {
        answers.push(match proven {
            Ok(client) => revoke(cx, auth, &client, &request.body.token).await?,
            Err(problem) => Err(problem),
        });
    }
    Ok(answers)
}

async fn revoke(
    cx: &mut Cx,
    auth: &Auth,
    client: &Proven,
    token: &str,
) -> Result<Result<TokenRevoked, Problem>, Failure> {
    let Some(claims) = read(cx, auth, token).await? else {
        if people::give_back(cx, client, token).await? {
            tracing::info!(client_id = %client.id, "a refresh token was given back");
        }
        return Ok(Ok(TokenRevoked {}));
    };
    if !is_of(&claims, client) {
        let problem = Problem::new(
            400,
            "invalid_grant",
            "this token was given to another client",
        );
        return Ok(Err(problem));
    }
    let half = i64::from(REVOCATIONS_MAX / 2);
    if store::revocations::count_revocations(cx.db(), half).await? >= half {
        let problem = Problem::new(
            503,
            "temporarily_unavailable",
            "too many tokens are given back; this one expires by itself",
        );
        return Ok(Err(problem));
    }
    store::revocations::insert_revocation(cx.db(), claims.jti).await?;
    tracing::info!(jti = %claims.jti, client_id = claims.client_id, "a token was given back");
    Ok(Ok(TokenRevoked {}))
}

pub(crate) async fn introspect_token(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<IntrospectToken>],
) -> Answers<Introspection> {
    let proofs: Vec<&ClientProof> = requests.iter().map(|it| &it.body.client).collect();
    let mut answers = Vec::with_capacity(requests.len());
    for (request, proven) in requests.iter().zip(prove(cx, auth, &proofs).await?) {
        answers.push(match proven {
            Ok(client) => Ok(introspect(cx, auth, &client, &request.body.token).await?),
            Err(problem) => Err(problem),
        });
    }
    Ok(answers)
}

async fn introspect(
    cx: &mut Cx,
    auth: &Auth,
    client: &Proven,
    token: &str,
) -> Result<Introspection, Failure> {
    let nothing = Introspection::default();
    let Some(claims) = read(cx, auth, token).await? else {
        return Ok(nothing);
    };
    let ids: Vec<_> = claims.ids().collect();
    if !is_of(&claims, client) || store::revocations::is_any_revoked(cx.db(), &ids).await? {
        return Ok(nothing);
    }
    Ok(Introspection {
        active: true,
        scope: Some(claims.scope),
        client_id: Some(claims.client_id),
        token_type: Some("Bearer".to_owned()),
        exp: Some(claims.exp),
        iat: Some(claims.iat),
        nbf: Some(claims.nbf),
        sub: Some(claims.sub),
        aud: Some(claims.aud),
        iss: Some(claims.iss),
        jti: Some(claims.jti),
    })
}

/// What a token of ours says that has not expired.
async fn read(cx: &mut Cx, auth: &Auth, token: &str) -> Result<Option<Claims>, Failure> {
    let Some(kid) = token::key_id(token) else {
        return Ok(None);
    };
    let key = store::revocations::find_public_key(cx.db(), &kid).await?;
    Ok(key.and_then(|key| token::read(token, &key, &auth.issuer)))
}

fn is_of(claims: &Claims, client: &Proven) -> bool {
    claims.client_id == client.id.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_narrowed_and_never_widened() {
        let held = ["orders:place".to_owned(), "stock:write".to_owned()];
        let scope = |asked| narrowed(&held, asked).map_err(|problem| problem.code);
        assert_eq!(scope(None).unwrap(), "orders:place stock:write");
        assert_eq!(scope(Some("stock:write")).unwrap(), "stock:write");
        assert_eq!(
            scope(Some("stock:write orders:place stock:write")).unwrap(),
            "orders:place stock:write"
        );
        for wide in [
            "catalog:write",
            "stock:write catalog:write",
            "stock",
            " ",
            "stock:write,orders:place",
        ] {
            assert_eq!(scope(Some(wide)).unwrap_err(), "invalid_scope", "{wide}");
        }
    }
}
