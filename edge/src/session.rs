//! Who is signed in to the pages: a browser has a cookie, the auth worker says whose it is, and no token ever reaches a
//! browser.
//!
//! Only pages look at the cookie. The API takes `Authorization: Bearer` and nothing else, so no other site can make a browser
//! use it in somebody's name.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderValue,
        header::{COOKIE, USER_AGENT},
        request::Parts,
    },
};
use sha2::{Digest, Sha256};
use shopzen_chassis::AskError;
use shopzen_contracts::{
    Confidential,
    auth::accounts::{SessionInUse, UseSession},
};
use tokio::time::Instant;

use crate::{Edge, problem::Refusal, request::Caller};

/// The cookie's name where browsers come by HTTPS: the prefix makes them keep it to this host, and to encrypted connections.
const COOKIE_SECURE: &str = "__Host-shopzen";
/// Its name on a developer's machine.
const COOKIE_PLAIN: &str = "shopzen_dev";
/// The cookie of who is on the way to a provider and back.
const TRIP_COOKIE_SECURE: &str = "__Host-shopzen-trip";
const TRIP_COOKIE_PLAIN: &str = "shopzen_dev_trip";
/// What is sealed in it is longer; browsers keep 4096 bytes with its name.
const TRIP_LENGTH_MAX: usize = 3_900;
/// What is sealed in it counts as long.
const TRIP_KEPT_FOR: Duration = Duration::from_mins(10);
/// The longest that is looked at. Ours have 43 characters.
const SECRET_LENGTH_MAX: usize = 100;
/// How long a browser keeps the cookie. The session may end before.
const KEPT_FOR: Duration = Duration::from_hours(90 * 24);
/// How long it is remembered whose a session is: it may be ended elsewhere meanwhile.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
/// Sessions that are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// Sessions that were asked about a moment ago, by the hash of their secret.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<[u8; 32], (Instant, SessionInUse)>>);

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    fn remembered(&self, key: &[u8; 32]) -> Option<SessionInUse> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, session) = sessions.get(key)?;
        (*until > Instant::now()).then(|| session.clone())
    }

    fn remember(&self, key: [u8; 32], session: &SessionInUse) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= REMEMBERED_MAX {
            sessions.clear();
        }
        sessions.insert(key, (Instant::now() + REMEMBERED_FOR, session.clone()));
    }

    /// What was true of a session may not be any more.
    pub(crate) fn forget(&self, secret: &Confidential) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&digest(secret));
    }
}

fn digest(secret: &Confidential) -> [u8; 32] {
    Sha256::digest(secret.expose().as_bytes()).into()
}

/// Who looks at a page.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// With the token of their session, where they are signed in.
    pub(crate) caller: Caller,
    /// The cookie that came along, whatever it is worth.
    pub(crate) cookie: Option<Confidential>,
    /// None of somebody who is not signed in.
    pub(crate) session: Option<SessionInUse>,
    /// What the browser calls itself.
    pub(crate) device: String,
}

impl FromRequestParts<Arc<Edge>> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Refusal> {
        let mut caller = Caller::from_request_parts(parts, edge).await?;
        caller.asking.identity = None;
        // What pages do is secret or harmless to repeat; nothing of it is kept under a key.
        caller.forget_key();
        let cookie = cookie(&parts.headers, edge.is_https);
        let session = match &cookie {
            Some(secret) => session_of(&mut caller, secret).await?,
            None => None,
        };
        if let Some(session) = &session {
            caller.asking.identity = Some(session.access_token.expose().to_owned());
        }
        let device = parts.headers.get(USER_AGENT);
        Ok(Self {
            caller,
            cookie,
            session,
            device: device
                .and_then(|it| it.to_str().ok())
                .unwrap_or("an unknown browser")
                .to_owned(),
        })
    }
}

impl Visitor {
    /// What a form of this session must bring along, so that it was ours.
    pub(crate) fn form_token(&self) -> String {
        match &self.cookie {
            Some(secret) => form_token(secret),
            None => String::new(),
        }
    }
}

/// The session's secret is not to be guessed from it.
pub(crate) fn form_token(secret: &Confidential) -> String {
    let mut hash = Sha256::new();
    hash.update(b"shopzen form token: ");
    hash.update(secret.expose().as_bytes());
    data_encoding::BASE64URL_NOPAD.encode(&hash.finalize())
}

async fn session_of(
    caller: &mut Caller,
    secret: &Confidential,
) -> Result<Option<SessionInUse>, Refusal> {
    let edge = Arc::clone(&caller.edge);
    let key = digest(secret);
    if let Some(session) = edge.sessions.remembered(&key) {
        return Ok(Some(session));
    }
    let asked = UseSession {
        session: secret.clone(),
    };
    match edge.asker.command(&asked, &caller.asking).await {
        Ok(session) => {
            edge.sessions.remember(key, &session);
            Ok(Some(session))
        }
        Err(AskError::Refused(problem)) if problem.status == 401 => Ok(None),
        Err(error) => Err(Refusal::of(error, true)),
    }
}

/// The value of our cookie. A browser that has two of that name is as good as signed out.
fn cookie(headers: &HeaderMap, is_https: bool) -> Option<Confidential> {
    found_once(headers, cookie_name(is_https), SECRET_LENGTH_MAX)
}

fn found_once(headers: &HeaderMap, name: &str, length_max: usize) -> Option<Confidential> {
    let mut found = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| value);
    let value = found.next().filter(|value| {
        (1..=length_max).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())
    })?;
    found.next().is_none().then(|| Confidential::new(value))
}

fn cookie_name(is_https: bool) -> &'static str {
    if is_https {
        COOKIE_SECURE
    } else {
        COOKIE_PLAIN
    }
}

/// `Set-Cookie` of a session that begins.
pub(crate) fn set_cookie(secret: &Confidential, is_https: bool) -> HeaderValue {
    of_cookie(cookie_name(is_https), secret.expose(), KEPT_FOR, is_https)
}

/// `Set-Cookie` of a session that has ended.
pub(crate) fn clear_cookie(is_https: bool) -> HeaderValue {
    of_cookie(cookie_name(is_https), "", Duration::ZERO, is_https)
}

/// What a browser takes along to a provider, and keeps until what that has shown is linked.
pub(crate) fn trip_cookie(headers: &HeaderMap, is_https: bool) -> Option<Confidential> {
    found_once(headers, trip_cookie_name(is_https), TRIP_LENGTH_MAX)
}

fn trip_cookie_name(is_https: bool) -> &'static str {
    if is_https {
        TRIP_COOKIE_SECURE
    } else {
        TRIP_COOKIE_PLAIN
    }
}

/// `Set-Cookie` of a trip that begins, or of what it has shown; none where it is over.
pub(crate) fn set_trip_cookie(trip: Option<&Confidential>, is_https: bool) -> HeaderValue {
    let name = trip_cookie_name(is_https);
    match trip {
        Some(trip) => of_cookie(name, trip.expose(), TRIP_KEPT_FOR, is_https),
        None => of_cookie(name, "", Duration::ZERO, is_https),
    }
}

/// `Lax`, not `Strict`: a shopper who comes back from a payment page is still signed in.
fn of_cookie(name: &str, value: &str, max_age: Duration, is_https: bool) -> HeaderValue {
    let secure = if is_https { "; Secure" } else { "" };
    let max_age = max_age.as_secs();
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}");
    let mut cookie = HeaderValue::from_str(&cookie).expect("a secret is base64url");
    cookie.set_sensitive(true);
    cookie
}

/// One more attempt of an address to be let in, or to have a letter written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt;

impl FromRequestParts<Arc<Edge>> for Attempt {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Refusal> {
        let client = parts.extensions.get::<crate::front::Client>().copied();
        let wait = edge
            .limits
            .as_ref()
            .zip(client)
            .and_then(|(limits, client)| limits.attempt(client.0));
        wait.map_or(Ok(Self), |wait| Err(Refusal::TooManyAttempts(wait)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[&str], is_https: bool) -> Option<String> {
        let headers = values
            .iter()
            .map(|value| (COOKIE, HeaderValue::from_str(value).unwrap()))
            .collect();
        cookie(&headers, is_https).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn our_cookie_is_found_among_others_and_once_only() {
        assert_eq!(found(&[], true), None);
        let value = Some("abc".to_owned());
        assert_eq!(found(&["a=b; __Host-shopzen=abc; c=d"], true), value);
        assert_eq!(found(&["a=b", "__Host-shopzen=abc"], true), value);
        // Anybody on the same machine can set the plain one, so where there is HTTPS it is nothing.
        assert_eq!(found(&["shopzen_dev=abc"], true), None);
        assert_eq!(found(&["shopzen_dev=abc"], false), value);
        for bad in [
            "__Host-shopzen=a; __Host-shopzen=b",
            "__Host-shopzen=",
            "__Host-shopzen=a b",
            &format!("__Host-shopzen={}", "a".repeat(101)),
        ] {
            assert_eq!(found(&[bad], true), None, "{bad}");
        }
    }

    #[test]
    fn a_cookie_is_kept_from_scripts_and_other_sites() {
        let secret = Confidential::new("abc");
        assert_eq!(
            set_cookie(&secret, true),
            "__Host-shopzen=abc; Path=/; Max-Age=7776000; HttpOnly; SameSite=Lax; Secure"
        );
        assert!(
            !set_cookie(&secret, false)
                .to_str()
                .unwrap()
                .contains("Secure")
        );
        assert!(clear_cookie(true).to_str().unwrap().contains("Max-Age=0;"));
    }

    #[test]
    fn a_form_token_belongs_to_one_session_and_tells_nothing() {
        let (a, b) = (Confidential::new("a"), Confidential::new("b"));
        assert_eq!(form_token(&a), form_token(&a));
        assert_ne!(form_token(&a), form_token(&b));
    }
}
