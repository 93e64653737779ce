//! What a program asks when it sends somebody along, and what is answered: pure.
//!
//! Where it is not certain whose address an answer would go to, there is none (RFC 6749, 4.1.2.1): the person is told, and
//! nobody else.

use shopzen_contracts::{
    Confidential, Problem, Scope,
    auth::authorization::{Authorize, OPENID_SCOPES},
};
use url::{Host, Url};

use crate::store::authorization::Application;

/// The longest `state` and `nonce`, in bytes.
const OPAQUE_BYTES_MAX: usize = 1_024;
/// SHA-256 in base64url, without padding.
const CHALLENGE_LENGTH: usize = 43;

/// A wish that can be granted, as far as the program is concerned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) redirect_uri: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) code_challenge: String,
    /// Nobody may be asked for anything.
    pub(crate) is_silent: bool,
    /// They have to be asked, even if they have agreed before.
    pub(crate) must_ask: bool,
    /// They have to show who they are, even if they are signed in.
    pub(crate) must_sign_in: bool,
    /// Seconds since they showed who they are, at the most.
    pub(crate) max_age: Option<u64>,
}

/// Why a program does not get what it asked for (RFC 6749, 4.1.2.1; OpenID Connect Core 1.0, 3.1.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: &'static str,
    pub(crate) description: &'static str,
}

pub(crate) const DENIED: Refusal = Refusal {
    error: "access_denied",
    description: "the person said no",
};
pub(crate) const LOGIN_REQUIRED: Refusal = Refusal {
    error: "login_required",
    description: "nobody is signed in, or not of late",
};
pub(crate) const CONSENT_REQUIRED: Refusal = Refusal {
    error: "consent_required",
    description: "the person has to be asked",
};

/// The address that an answer goes to, where it is one of those that were registered.
pub(crate) fn redirect_uri(
    asked: &Authorize,
    application: &Application,
) -> Result<String, Problem> {
    let wrong = |why| Problem::new(400, "redirect_uri_unknown", why);
    let asked = asked
        .redirect_uri
        .as_deref()
        .ok_or_else(|| wrong("the program did not say where to send you back to"))?;
    let is_registered = application
        .redirect_uris
        .iter()
        .any(|registered| registered == asked || is_same_loopback(registered, asked));
    if is_registered {
        Ok(asked.to_owned())
    } else {
        Err(wrong(
            "the program wants you sent back to where it is not registered",
        ))
    }
}

/// A program on somebody's own machine listens where there is a port free (RFC 8252, 7.3).
fn is_same_loopback(registered: &str, asked: &str) -> bool {
    let parsed = |text: &str| {
        let mut url = Url::parse(text).ok()?;
        let is_loopback = match url.host()? {
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
            Host::Domain(_) => false,
        };
        let is_plain = url.username().is_empty() && url.password().is_none();
        (url.scheme() == "http" && is_loopback && is_plain).then_some(())?;
        url.set_port(None).ok()?;
        Some(url)
    };
    matches!((parsed(registered), parsed(asked)), (Some(a), Some(b)) if a == b)
}

/// What the program wants, the address apart.
pub(crate) fn read(
    asked: &Authorize,
    application: &Application,
    redirect_uri: &str,
) -> Result<Wish, Refusal> {
    let invalid = |description| Refusal {
        error: "invalid_request",
        description,
    };
    if let Some(refusal) = not_offered(asked) {
        return Err(refusal);
    }
    if asked.response_type.is_none() {
        return Err(invalid("response_type is missing; it must be code"));
    }
    if asked.response_type.as_deref() != Some("code") {
        return Err(Refusal {
            error: "unsupported_response_type",
            description: "response_type must be code",
        });
    }
    if !application
        .grants
        .iter()
        .any(|grant| grant == "authorization_code")
    {
        return Err(Refusal {
            error: "unauthorized_client",
            description: "this client may not use authorization codes",
        });
    }
    if asked.code_challenge_method.as_deref() != Some("S256") {
        return Err(invalid("code_challenge_method must be S256"));
    }
    let code_challenge = asked.code_challenge.clone().unwrap_or_default();
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if code_challenge.len() != CHALLENGE_LENGTH || !code_challenge.bytes().all(is_base64url) {
        return Err(invalid("code_challenge must be SHA-256 in base64url"));
    }
    for text in [&asked.state, &asked.nonce].into_iter().flatten() {
        if text.len() > OPAQUE_BYTES_MAX || text.contains(char::is_control) {
            return Err(invalid("state and nonce must be short and printable"));
        }
    }
    let prompts: Vec<&str> = asked
        .prompt
        .as_deref()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let known = ["none", "login", "consent", "select_account"];
    if prompts.iter().any(|prompt| !known.contains(prompt)) {
        return Err(invalid(
            "prompt must be none, login, consent or select_account",
        ));
    }
    let is_silent = prompts.contains(&"none");
    if is_silent && prompts.len() > 1 {
        return Err(invalid("prompt none stands by itself"));
    }
    let max_age = match asked.max_age.as_deref().map(str::parse) {
        None => None,
        Some(Ok(seconds)) => Some(seconds),
        Some(Err(_)) => return Err(invalid("max_age must be a number of seconds")),
    };
    Ok(Wish {
        redirect_uri: redirect_uri.to_owned(),
        scopes: scopes(asked, application)?,
        code_challenge,
        is_silent,
        must_ask: prompts.contains(&"consent"),
        // Nobody has more than one account in a browser, so whoever wants to choose signs in with another.
        must_sign_in: prompts.contains(&"login") || prompts.contains(&"select_account"),
        max_age,
    })
}

/// What others offer and we do not, each by the error that it has (OpenID Connect Core 1.0, 3.1.2.6). What is not understood
/// is ignored (RFC 6749, 3.1), but an answer that came in another way than was asked for would not arrive.
fn not_offered(asked: &Authorize) -> Option<Refusal> {
    let refusal = |error, description| Some(Refusal { error, description });
    if asked.request.is_some() {
        return refusal("request_not_supported", "request objects are not read");
    }
    if asked.request_uri.is_some() {
        return refusal("request_uri_not_supported", "request objects are not read");
    }
    if asked.registration.is_some() {
        let why = "clients are registered by the shop's staff";
        return refusal("registration_not_supported", why);
    }
    if asked
        .response_mode
        .as_deref()
        .is_some_and(|it| it != "query")
    {
        return refusal("invalid_request", "response_mode must be query");
    }
    None
}

/// What is asked for, each once, where the program may ask for it. What nobody here understands, such as `address` and
/// `phone`, is left out (OpenID Connect Core 1.0, 3.1.2.1); which scopes it got the token's answer says.
fn scopes(asked: &Authorize, application: &Application) -> Result<Vec<String>, Refusal> {
    let asked = asked.scope.as_deref().unwrap_or_default();
    let is_understood = |scope: &&str| is_openid(scope) || is_of_shop(scope);
    let understood = asked.split_whitespace().filter(is_understood);
    let mut scopes: Vec<String> = understood.map(str::to_owned).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let may_ask = |scope: &String| is_openid(scope) || application.scopes.contains(scope);
    if scopes.is_empty() || !scopes.iter().all(may_ask) {
        return Err(Refusal {
            error: "invalid_scope",
            description: "scope must be there, and of those that this client is registered with",
        });
    }
    Ok(scopes)
}

pub(crate) fn is_openid(scope: &str) -> bool {
    OPENID_SCOPES.iter().any(|(known, _)| *known == scope)
}

fn is_of_shop(scope: &str) -> bool {
    Scope::ALL.into_iter().any(|known| known.name() == scope)
}

/// Each wish in words.
pub(crate) fn in_words(scopes: &[String]) -> Vec<String> {
    let of_openid = OPENID_SCOPES.into_iter();
    let of_shop = Scope::ALL
        .into_iter()
        .map(|scope| (scope.name(), scope.meaning()));
    of_openid
        .chain(of_shop)
        .filter(|(name, _)| scopes.iter().any(|scope| scope == name))
        .map(|(_, meaning)| meaning.to_owned())
        .collect()
}

/// Where the browser goes with an answer. Who reads it knows by `iss` whose it is (RFC 9207).
pub(crate) fn answer(
    redirect_uri: &str,
    issuer: &str,
    state: Option<&str>,
    pairs: &[(&str, &str)],
) -> Confidential {
    // It was registered, so it can be read.
    let Ok(mut url) = Url::parse(redirect_uri) else {
        return Confidential::new(redirect_uri);
    };
    {
        let mut query = url.query_pairs_mut();
        for (name, value) in pairs {
            query.append_pair(name, value);
        }
        if let Some(state) = state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", issuer);
    }
    Confidential::new(url.as_str())
}

/// The host that a person is told of.
pub(crate) fn host_of(redirect_uri: &str) -> String {
    let url = Url::parse(redirect_uri).ok();
    let host = url.and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| redirect_uri.to_owned())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn application() -> Application {
        Application {
            id: Uuid::nil(),
            name: "App".to_owned(),
            grants: vec!["authorization_code".to_owned()],
            redirect_uris: vec![
                "https://app.example/back".to_owned(),
                "http://127.0.0.1/back".to_owned(),
            ],
            scopes: vec!["orders:read".to_owned()],
            is_trusted: false,
        }
    }

    fn asked() -> Authorize {
        let text = |text: &str| Some(text.to_owned());
        Authorize {
            redirect_uri: text("https://app.example/back"),
            response_type: text("code"),
            scope: text("openid orders:read"),
            code_challenge: text(&"A".repeat(43)),
            code_challenge_method: text("S256"),
            ..Authorize::default()
        }
    }

    #[test]
    fn nobody_is_sent_back_to_where_nothing_is_registered() {
        let to = |uri: &str| {
            let asked = Authorize {
                redirect_uri: Some(uri.to_owned()),
                ..asked()
            };
            redirect_uri(&asked, &application())
        };
        for good in [
            "https://app.example/back",
            "http://127.0.0.1/back",
            "http://127.0.0.1:49152/back",
        ] {
            assert_eq!(to(good).unwrap(), good);
        }
        for bad in [
            "",
            "https://app.example/back/",
            "https://app.example/back?x=1",
            "https://app.example/back#x",
            "https://app.example:443/back",
            "https://APP.example/back",
            "https://app.example/other/../back",
            "https://app.example.evil.example/back",
            "https://app.example@evil.example/back",
            "http://app.example/back",
            "http://127.0.0.1:1@evil.example/back",
            "http://127.0.0.1:1/other",
            "http://127.0.0.2/back",
            "http://localhost:1/back",
            "javascript:alert(1)",
            "//app.example/back",
        ] {
            assert_eq!(to(bad).unwrap_err().code, "redirect_uri_unknown", "{bad}");
        }
        let silent = Authorize {
            redirect_uri: None,
            ..asked()
        };
        redirect_uri(&silent, &application()).unwrap_err();
    }

    fn refused(change: impl FnOnce(&mut Authorize)) -> &'static str {
        let mut asked = asked();
        change(&mut asked);
        read(&asked, &application(), "x").unwrap_err().error
    }

    #[test]
    fn only_codes_with_a_hashed_challenge_are_given() {
        let wish = read(&asked(), &application(), "x").unwrap();
        assert_eq!(wish.scopes, ["openid", "orders:read"]);
        assert_eq!(refused(|it| it.response_type = None), "invalid_request");
        for kind in ["token", "id_token", "code token", ""] {
            let error = refused(|it| it.response_type = Some(kind.to_owned()));
            assert_eq!(error, "unsupported_response_type", "{kind}");
        }
        assert_eq!(
            refused(|it| it.code_challenge_method = Some("plain".to_owned())),
            "invalid_request"
        );
        assert_eq!(
            refused(|it| it.code_challenge_method = None),
            "invalid_request"
        );
        assert_eq!(refused(|it| it.code_challenge = None), "invalid_request");
        assert_eq!(
            refused(|it| it.code_challenge = Some("=".repeat(43))),
            "invalid_request"
        );
    }

    #[test]
    fn what_a_program_is_not_registered_with_it_cannot_ask_for() {
        for bad in ["", "stock:write", "orders:read stock:write", "nonsense"] {
            assert_eq!(
                refused(|it| it.scope = Some(bad.to_owned())),
                "invalid_scope",
                "{bad}"
            );
        }
        // What nobody understands is no wish.
        let mut asked = asked();
        asked.scope = Some("phone openid address nonsense".to_owned());
        let wish = read(&asked, &application(), "x").unwrap();
        assert_eq!(wish.scopes, ["openid"]);
        let mut other = application();
        other.grants = vec!["client_credentials".to_owned()];
        let refused = read(&asked, &other, "x").unwrap_err();
        assert_eq!(refused.error, "unauthorized_client");
    }

    #[test]
    fn prompts_and_ages_are_understood_or_refused() {
        let mut silent = asked();
        silent.prompt = Some("none".to_owned());
        silent.max_age = Some("60".to_owned());
        let wish = read(&silent, &application(), "x").unwrap();
        assert!(wish.is_silent && wish.max_age == Some(60));
        assert_eq!(
            refused(|it| it.prompt = Some("none login".to_owned())),
            "invalid_request"
        );
        assert_eq!(
            refused(|it| it.prompt = Some("create".to_owned())),
            "invalid_request"
        );
        assert_eq!(
            refused(|it| it.max_age = Some("-1".to_owned())),
            "invalid_request"
        );
        assert_eq!(
            refused(|it| it.state = Some("a".repeat(1_025))),
            "invalid_request"
        );
    }

    #[test]
    fn what_is_not_offered_is_refused_by_its_name() {
        type Change = fn(&mut Authorize, Option<String>);
        let text = || Some("x".to_owned());
        let cases: [(Change, &str); 4] = [
            (|it, text| it.request = text, "request_not_supported"),
            (
                |it, text| it.request_uri = text,
                "request_uri_not_supported",
            ),
            (
                |it, text| it.registration = text,
                "registration_not_supported",
            ),
            (|it, text| it.response_mode = text, "invalid_request"),
        ];
        for (change, error) in cases {
            assert_eq!(refused(|it| change(it, text())), error);
        }
        let mut query = asked();
        query.response_mode = Some("query".to_owned());
        read(&query, &application(), "x").unwrap();
    }

    #[test]
    fn who_is_to_sign_in_and_be_asked_is_both() {
        let with = |prompt: &str| {
            let mut asked = asked();
            asked.prompt = Some(prompt.to_owned());
            let wish = read(&asked, &application(), "x").unwrap();
            (wish.must_sign_in, wish.must_ask)
        };
        assert_eq!(with("login"), (true, false));
        assert_eq!(with("consent login"), (true, true));
        assert_eq!(with("select_account"), (true, false));
        assert_eq!(with("consent"), (false, true));
    }

    #[test]
    fn an_answer_is_added_to_what_was_registered() {
        let location = answer(
            "https://app.example/back?shop=1",
            "https://shop.example",
            Some("a&b"),
            &[("code", "c")],
        );
        assert_eq!(
            location.expose(),
            "https://app.example/back?shop=1&code=c&state=a%26b&iss=https%3A%2F%2Fshop.example"
        );
    }

    #[test]
    fn people_are_asked_in_words() {
        let scopes = ["openid".to_owned(), "orders:read".to_owned()];
        assert_eq!(
            in_words(&scopes),
            ["Know that it is you.", "Read the account's own orders."]
        );
    }
}
