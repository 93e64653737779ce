//! Tokens for programs that people have let in: by a code, and from then on by refresh tokens.
//!
//! A refresh token is good once. Used again it was copied, and nobody can tell by whom: the session ends, and its owner is
//! told (RFC 9700, 4.14.2). But an answer can get lost, and then it is no copy: for a few seconds the same token gives the
//! same successor, as long as nobody has used that one.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64URL_NOPAD;
use shopzen_chassis::{Cx, Failure};
use shopzen_contracts::{Confidential, Problem, auth::IssuedToken, notify::MailKind};
use uuid::Uuid;

use super::issue;
use crate::{
    Auth,
    authorization::is_openid,
    factors, keys,
    letters::{self, NewLetter},
    proof::Proven,
    secrets,
    store::{
        self,
        accounts::{Credentials, Whose},
        authorization::{Code, Refresh, Standing},
        sessions::NewAppSession,
    },
    token::{IdentityClaims, Subject},
};

/// A code has to be exchanged by then (RFC 9700 asks for a minute at most at its strictest).
const CODE_LIFETIME: Duration = Duration::from_mins(1);
/// How long it is remembered what came of a code, in case it is shown again.
pub(crate) const CODES_KEPT_FOR: Duration = Duration::from_hours(24);
/// How long the same refresh token may be sent again, as the answer got lost.
const REPLAY_WINDOW: Duration = Duration::from_secs(10);
/// How long an app stays let in without a sign of life, and at the longest.
const APP_IDLE: Duration = Duration::from_hours(30 * 24);
const APP_LIFETIME: Duration = Duration::from_hours(90 * 24);
/// Characters of a verifier (RFC 7636, 4.1).
const VERIFIER_LENGTH_MIN: usize = 43;
const VERIFIER_LENGTH_MAX: usize = 128;
/// What a successor is sealed for.
const SUCCESSOR: &str = "refresh token";

fn invalid(why: &str) -> Problem {
    Problem::new(400, "invalid_grant", why)
}

/// Exchanges a code, once.
pub(crate) async fn by_code(
    cx: &mut Cx,
    auth: &Auth,
    client: &Proven,
    shown: &Confidential,
    redirect_uri: Option<&str>,
    verifier: Option<&Confidential>,
) -> Result<Result<IssuedToken, Problem>, Failure> {
    let hash = secrets::hash(shown.expose());
    let found = store::authorization::find_code(cx.db(), &hash, CODE_LIFETIME).await?;
    let Some(code) = found.filter(|code| code.client_id == client.id) else {
        return Ok(Err(invalid("there is no such code for this client")));
    };
    if let Some(session_id) = code.session_id {
        // Somebody has a copy of it. Which of the two is the right one nobody knows.
        store::sessions::end(cx.db(), &[session_id]).await?;
        tracing::warn!(client_id = %client.id, "a code was shown twice; what came of it has ended");
        return Ok(Err(invalid("this code was exchanged already")));
    }
    if !code.is_in_time {
        return Ok(Err(invalid("this code is too old")));
    }
    if redirect_uri != Some(code.redirect_uri.as_str()) {
        return Ok(Err(invalid(
            "redirect_uri is not the one that the code was sent to",
        )));
    }
    if !verifies(verifier, &code.challenge) {
        return Ok(Err(invalid("code_verifier does not belong to the code")));
    }
    let account =
        store::accounts::find_credentials(cx.db(), Whose::Id(code.account_id), auth.demo_accounts)
            .await?;
    let Some(account) = account else {
        return Ok(Err(invalid("there is no such account any more")));
    };
    let session = NewAppSession {
        id: cx.new_id(),
        account_id: account.id,
        client_id: client.id,
        scopes: &code.scopes,
        authentication: &code.authentication,
        lifetime: APP_LIFETIME,
        idle: APP_IDLE,
    };
    store::sessions::insert_of_app(cx.db(), &session).await?;
    store::authorization::save_exchanged(cx.db(), &hash, session.id).await?;
    let mut issued = access(cx, auth, client, &account, session.id, &code.scopes, None).await?;
    if has_refresh(client) {
        issued.refresh_token = Some(next_refresh(cx, session.id, 1).await?);
    }
    if code.scopes.iter().any(|scope| scope == "openid") {
        issued.id_token = Some(identity(cx, auth, client, &account, &code).await?);
    }
    Ok(Ok(issued))
}

/// RFC 7636, 4.6.
fn verifies(verifier: Option<&Confidential>, challenge: &str) -> bool {
    let Some(verifier) = verifier.map(Confidential::expose) else {
        return false;
    };
    let has_length = (VERIFIER_LENGTH_MIN..=VERIFIER_LENGTH_MAX).contains(&verifier.len());
    let computed = BASE64URL_NOPAD.encode(&secrets::hash(verifier));
    has_length && verify_slices_are_equal(computed.as_bytes(), challenge.as_bytes()).is_ok()
}

fn has_refresh(client: &Proven) -> bool {
    client.grants.iter().any(|grant| grant == "refresh_token")
}

/// An access token with what the person agreed to, as far as they may do it themselves by now.
async fn access(
    cx: &mut Cx,
    auth: &Auth,
    client: &Proven,
    account: &Credentials,
    session_id: Uuid,
    agreed: &[String],
    narrowed: Option<&str>,
) -> Result<IssuedToken, Failure> {
    let own = factors::scopes_for(cx, auth, account.id, &account.roles()?).await?;
    let may = |scope: &&str| is_openid(scope) || own.iter().any(|it| it.name() == *scope);
    let wanted: Vec<&str> = match narrowed {
        Some(narrowed) => narrowed.split_whitespace().collect(),
        None => agreed.iter().map(String::as_str).collect(),
    };
    let mut scopes: Vec<&str> = wanted.into_iter().filter(may).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let subject = Subject {
        id: account.id,
        client_id: &client.id.to_string(),
        sid: Some(session_id),
        scope: scopes.join(" "),
    };
    issue(cx, auth, subject).await
}

async fn next_refresh(
    cx: &mut Cx,
    session_id: Uuid,
    generation: i32,
) -> Result<Confidential, Failure> {
    let secret = secrets::new_secret()?;
    let hash = secrets::hash(secret.expose());
    store::authorization::insert_refresh(cx.db(), &hash, session_id, generation).await?;
    Ok(secret)
}

/// Who signed in, for the program alone (OpenID Connect Core 1.0, 2).
async fn identity(
    cx: &mut Cx,
    auth: &Auth,
    client: &Proven,
    account: &Credentials,
    code: &Code,
) -> Result<String, Failure> {
    let asked = |scope: &str| code.scopes.iter().any(|it| it == scope);
    let now = u64::try_from(cx.now().as_second()).unwrap_or(0);
    let claims = IdentityClaims {
        iss: auth.issuer.clone(),
        sub: account.id,
        aud: client.id.to_string(),
        exp: now.saturating_add(auth.token_lifetime.as_secs()),
        iat: now,
        auth_time: u64::try_from(code.authentication.at().as_second()).unwrap_or(0),
        amr: code.authentication.amr.clone(),
        nonce: code.nonce.clone(),
        name: asked("profile").then(|| account.name.clone()),
        email: asked("email").then(|| account.email.clone()),
        email_verified: asked("email").then_some(true),
    };
    keys::signer(cx.db(), &auth.signing)
        .await?
        .sign_identity(&claims)
}

/// Goes on with a session, by the newest of its refresh tokens.
pub(crate) async fn by_refresh(
    cx: &mut Cx,
    auth: &Auth,
    client: &Proven,
    shown: &Confidential,
    scope: Option<&str>,
) -> Result<Result<IssuedToken, Problem>, Failure> {
    let hash = secrets::hash(shown.expose());
    let found = store::authorization::find_refresh(cx.db(), &hash, REPLAY_WINDOW).await?;
    let Some(refresh) = found.filter(|it| it.client_id == Some(client.id)) else {
        return Ok(Err(invalid(
            "there is no such refresh token for this client",
        )));
    };
    if !refresh.is_open {
        return Ok(Err(invalid("this session has ended")));
    }
    let agreed = refresh.scopes.clone().unwrap_or_default();
    let is_agreed = |scope: &str| agreed.iter().any(|it| it == scope);
    if scope.is_some_and(|scope| !scope.split_whitespace().all(is_agreed)) {
        let why = "scope asks for more than was agreed to";
        return Ok(Err(Problem::new(400, "invalid_scope", why)));
    }
    let account = store::accounts::find_credentials(
        cx.db(),
        Whose::Id(refresh.account_id),
        auth.demo_accounts,
    )
    .await?;
    let Some(account) = account else {
        return Ok(Err(invalid("there is no such account any more")));
    };
    let Some(successor) = successor(cx, auth, &hash, &refresh).await? else {
        end_copied(cx, auth, client, &account, refresh.session_id).await?;
        let why = "this refresh token was used already; the session has ended";
        return Ok(Err(invalid(why)));
    };
    store::sessions::save_seen(cx.db(), refresh.session_id).await?;
    let mut issued = access(
        cx,
        auth,
        client,
        &account,
        refresh.session_id,
        &agreed,
        scope,
    )
    .await?;
    issued.refresh_token = Some(successor);
    Ok(Ok(issued))
}

/// What comes after this token; none where it was used before.
async fn successor(
    cx: &mut Cx,
    auth: &Auth,
    hash: &[u8],
    refresh: &Refresh,
) -> Result<Option<Confidential>, Failure> {
    let of = format!("{SUCCESSOR} {} {}", refresh.session_id, refresh.generation);
    if refresh.standing() == Standing::Good {
        let next = next_refresh(cx, refresh.session_id, refresh.generation + 1).await?;
        let sealed = auth.signing.seal()?.close(&of, next.expose().as_bytes())?;
        store::authorization::save_refreshed(cx.db(), hash, &sealed).await?;
        return Ok(Some(next));
    }
    if refresh.standing() == Standing::Spent {
        return Ok(None);
    }
    let sealed = refresh.successor.as_deref().unwrap_or_default();
    let opened = auth.signing.seal()?.open(&of, sealed);
    let text = opened.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.map(Confidential::new))
}

async fn end_copied(
    cx: &mut Cx,
    auth: &Auth,
    client: &Proven,
    account: &Credentials,
    session_id: Uuid,
) -> Result<(), Failure> {
    store::sessions::end(cx.db(), &[session_id]).await?;
    let application = store::authorization::find_application(cx.db(), client.id).await?;
    let name = application.map(|it| it.name);
    let letter = NewLetter {
        account_id: Some(account.id),
        subject: name.as_deref(),
        ..NewLetter::new(MailKind::RefreshTokenReused, &account.email)
    };
    letters::write(cx, &letter).await?;
    letters::send_due(cx, auth).await?;
    tracing::warn!(account_id = %account.id, client_id = %client.id, "a refresh token was used twice; its session has ended");
    Ok(())
}

/// Ends the session that a refresh token goes on with. False where it is none of this client's.
pub(crate) async fn give_back(cx: &mut Cx, client: &Proven, shown: &str) -> Result<bool, Failure> {
    let hash = secrets::hash(shown);
    let found = store::authorization::find_refresh(cx.db(), &hash, REPLAY_WINDOW).await?;
    let Some(refresh) = found.filter(|it| it.client_id == Some(client.id)) else {
        return Ok(false);
    };
    store::sessions::end(cx.db(), &[refresh.session_id]).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_belongs_to_its_challenge() {
        // RFC 7636, appendix B.
        let verifier = Confidential::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(verifies(Some(&verifier), challenge));
        assert!(!verifies(None, challenge));
        assert!(!verifies(Some(&Confidential::new("short")), challenge));
        // Not hashed, as with the method `plain`.
        assert!(!verifies(Some(&Confidential::new(challenge)), challenge));
        let other = Confidential::new("x".repeat(43));
        assert!(!verifies(Some(&other), challenge));
    }
}
