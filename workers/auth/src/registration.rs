//! What a client has to be like.

use serde_json::Value;
use shopzen_chassis::Cx;
use shopzen_contracts::{
    FieldError, Problem, Scope,
    auth::clients::{AddClient, GrantType},
};
use url::{Host, Url};

use crate::{proof::client_key, store::clients::ClientKey};

const NAME_CHARS_MAX: usize = 100;
const REDIRECT_URIS_MAX: usize = 10;
const REDIRECT_URI_BYTES_MAX: usize = 2_000;
const KEYS_MAX: usize = 5;

/// The keys that a client brings, as they are kept.
pub(crate) fn read_keys(cx: &mut Cx, keys: &[Value]) -> Result<Vec<ClientKey>, Problem> {
    if keys.len() > KEYS_MAX {
        let detail = format!("must be at most {KEYS_MAX}");
        let error = FieldError::new("/keys", "too_many", detail);
        return Err(Problem::invalid(vec![error]));
    }
    let mut read: Vec<ClientKey> = Vec::with_capacity(keys.len());
    for (index, jwk) in keys.iter().enumerate() {
        let key = client_key(cx.new_id(), jwk).and_then(|key| {
            let is_new = read.iter().all(|other| other.kid != key.kid);
            is_new.then_some(key).ok_or("has the kid of another one")
        });
        let fault = |detail| FieldError::new(format!("/keys/{index}"), "invalid_key", detail);
        read.push(key.map_err(|detail| Problem::invalid(vec![fault(detail)]))?);
    }
    Ok(read)
}

/// What is wrong with a client to be, its keys apart.
pub(crate) fn faults(wanted: &AddClient) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut fault = |pointer: String, code: &str, detail: String| {
        errors.push(FieldError::new(pointer, code, detail));
    };
    let name = wanted.name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(char::is_control) {
        let detail = format!("must have 1 to {NAME_CHARS_MAX} printable characters");
        fault("/name".to_owned(), "wrong_length", detail);
    }
    if wanted.grants.is_empty() {
        let known: Vec<&str> = GrantType::ALL.map(GrantType::as_str).into();
        let detail = format!("must be one or more of: {}", known.join(", "));
        fault("/grants".to_owned(), "required", detail);
    }
    for (index, scope) in wanted.scopes.iter().enumerate() {
        if !Scope::ALL.iter().any(|it| it.name() == scope) {
            let detail = format!("must be one of: {}", Scope::ALL.map(Scope::name).join(", "));
            fault(format!("/scopes/{index}"), "unknown_scope", detail);
        }
    }
    let has = |grant| wanted.grants.contains(&grant);
    if wanted.scopes.is_empty() && has(GrantType::ClientCredentials) {
        let detail = format!(
            "must be one or more of: {}",
            Scope::ALL.map(Scope::name).join(", ")
        );
        fault("/scopes".to_owned(), "required", detail);
    }
    if wanted.is_public && has(GrantType::ClientCredentials) {
        let detail = "cannot have client_credentials, as it keeps no secret".to_owned();
        fault("/is_public".to_owned(), "keeps_no_secret", detail);
    }
    if wanted.redirect_uris.is_empty() && has(GrantType::AuthorizationCode) {
        let detail = "must say where people are sent back to".to_owned();
        fault("/redirect_uris".to_owned(), "required", detail);
    }
    if wanted.redirect_uris.len() > REDIRECT_URIS_MAX {
        let detail = format!("must be at most {REDIRECT_URIS_MAX}");
        fault("/redirect_uris".to_owned(), "too_many", detail);
    }
    for (index, uri) in wanted.redirect_uris.iter().enumerate() {
        if !can_be_sent_to(uri) {
            let detail = "must be https, or http to this machine, without a fragment".to_owned();
            fault(format!("/redirect_uris/{index}"), "invalid_uri", detail);
        }
    }
    errors
}

/// RFC 9700, 2.1; RFC 8252, 7.3.
fn can_be_sent_to(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else {
        return false;
    };
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    };
    uri.len() <= REDIRECT_URI_BYTES_MAX
        && url.fragment().is_none()
        && url.username().is_empty()
        && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> AddClient {
        AddClient {
            name: "ACME".to_owned(),
            grants: vec![GrantType::ClientCredentials],
            redirect_uris: vec!["https://acme.example/back".to_owned()],
            scopes: vec!["stock:write".to_owned()],
            is_trusted: false,
            is_public: false,
            keys: Vec::new(),
        }
    }

    #[test]
    fn a_client_says_all_that_is_needed_and_nothing_unknown() {
        assert_eq!(faults(&wanted()), []);
        let wrong = AddClient {
            name: " ".to_owned(),
            grants: Vec::new(),
            redirect_uris: vec!["javascript:alert(1)".to_owned()],
            scopes: vec!["stock:write".to_owned(), "root".to_owned()],
            ..wanted()
        };
        let pointers: Vec<String> = faults(&wrong).into_iter().map(|it| it.pointer).collect();
        assert_eq!(
            pointers,
            ["/name", "/grants", "/scopes/1", "/redirect_uris/0"]
        );
        let app = AddClient {
            grants: vec![GrantType::AuthorizationCode],
            scopes: Vec::new(),
            is_public: true,
            ..wanted()
        };
        assert_eq!(faults(&app), []);
        let secretless = AddClient {
            grants: vec![GrantType::ClientCredentials, GrantType::AuthorizationCode],
            redirect_uris: Vec::new(),
            ..app
        };
        let pointers: Vec<String> = faults(&secretless)
            .into_iter()
            .map(|it| it.pointer)
            .collect();
        assert_eq!(pointers, ["/scopes", "/is_public", "/redirect_uris"]);
    }

    #[test]
    fn people_are_sent_back_over_tls_or_to_their_own_machine() {
        for good in [
            "https://a.example/x?y=1",
            "http://127.0.0.1:3000/",
            "http://[::1]/cb",
        ] {
            assert!(can_be_sent_to(good), "{good}");
        }
        for bad in [
            "",
            "/back",
            "http://a.example/",
            "http://localhost/",
            "https://a.example/#x",
            "https://user@a.example/",
            "data:text/html,x",
        ] {
            assert!(!can_be_sent_to(bad), "{bad}");
        }
    }
}
