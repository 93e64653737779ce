//! Clients as staff see them: registered, given secrets and keys, revoked.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use shopzen_chassis::{Act, Answers, Caller, Cx, Failure, Refused, Request};
use shopzen_contracts::{
    Command, FieldError, Problem, Scope,
    auth::clients::{
        AddClient, Client, ClientAndSecret, Clients, GetClient, GrantType, ListClients,
        RevokeClient, RotateClientSecret, SetClientKeys,
    },
};
use sqlx::PgPool;
use url::{Host, Url};
use uuid::Uuid;

use crate::{
    Auth,
    proof::{client_key, new_secret},
    store::{
        self,
        clients::{ClientFilter, ClientKey, NewClient},
    },
};

/// Clients of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The grants that these have, and no others; none: any.
    pub(crate) grants: Option<&'static [&'static str]>,
}

const CLIENTS: Kind = Kind {
    name: "client",
    grants: None,
};

impl Kind {
    /// Whether a client with these grants is one of this kind.
    pub(crate) fn is_of(self, grants: &[impl AsRef<str>]) -> bool {
        self.grants.is_none_or(|own| {
            own.len() == grants.len() && own.iter().zip(grants).all(|(a, b)| *a == b.as_ref())
        })
    }

    fn not_found(self) -> Problem {
        Problem::not_found(self.name)
    }
}

const NAME_CHARS_MAX: usize = 100;
const REDIRECT_URIS_MAX: usize = 10;
const REDIRECT_URI_BYTES_MAX: usize = 2_000;
const KEYS_MAX: usize = 5;
/// Secrets that are good at the same time.
const SECRETS_MAX: i64 = 5;
/// How long the secrets before a new one are good, unless somebody says otherwise.
const OVERLAP: Duration = Duration::from_hours(24);
const OVERLAP_S_MAX: u32 = 30 * 24 * 3_600;
const PAGE_DEFAULT: u32 = 24;
const PAGE_MAX: u32 = 100;

pub(crate) async fn add(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<AddClient>],
) -> Answers<ClientAndSecret> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let added = register(cx, &request.caller, &request.body).await?;
        if let Ok(added) = &added {
            record(cx, request, CLIENTS, None, &added.client);
        }
        answers.push(added);
    }
    Ok(answers)
}

/// A client that somebody wants, who may give it what they want for it.
pub(crate) async fn register(
    cx: &mut Cx,
    by: &Caller,
    wanted: &AddClient,
) -> Result<Result<ClientAndSecret, Problem>, Failure> {
    let errors = faults(wanted);
    if !errors.is_empty() {
        return Ok(Err(Problem::invalid(errors)));
    }
    if let Err(problem) = may_hand_out(by, &wanted.scopes) {
        return Ok(Err(problem));
    }
    let keys = match read_keys(cx, &wanted.keys) {
        Ok(keys) => keys,
        Err(problem) => return Ok(Err(problem)),
    };
    let id = cx.new_id();
    let grants: BTreeSet<&str> = wanted.grants.iter().map(|grant| grant.as_str()).collect();
    let scopes: BTreeSet<&String> = wanted.scopes.iter().collect();
    let scopes: Vec<String> = scopes.into_iter().cloned().collect();
    let client = NewClient {
        id,
        name: wanted.name.trim(),
        grants: grants.into_iter().collect(),
        redirect_uris: &wanted.redirect_uris,
        scopes: &scopes,
        is_trusted: wanted.is_trusted,
        is_public: wanted.is_public,
    };
    if !store::clients::insert_client(cx.db(), &client).await? {
        let why = "another client has this name; revoke that one, or take another name";
        return Ok(Err(Problem::new(409, "client_exists", why)));
    }
    let client_secret = if wanted.is_public {
        None
    } else if keys.is_empty() {
        Some(give_secret(cx, id).await?)
    } else {
        store::clients::save_client_keys(cx.db(), id, &keys).await?;
        None
    };
    tracing::info!(client_id = %id, scopes = ?scopes, "registered a client");
    let client = load(cx, id).await?;
    Ok(Ok(ClientAndSecret {
        client,
        client_secret,
    }))
}

/// Says what was done to a client, for who looks up later what staff did.
pub(crate) fn record<C: Command>(
    cx: &mut Cx,
    request: &Request<C>,
    kind: Kind,
    before: Option<&Client>,
    after: &Client,
) {
    if before == Some(after) {
        cx.changed_nothing(request);
        return;
    }
    let act = Act::on(format!("{} {}", kind.name, after.id)).to(after);
    let act = match before {
        Some(before) => act.from(before),
        None => act,
    };
    cx.record(request, act);
}

async fn give_secret(cx: &mut Cx, client_id: Uuid) -> Result<String, Failure> {
    let (secret, hash) = new_secret()?;
    let id = cx.new_id();
    store::clients::insert_secret(cx.db(), id, client_id, &hash).await?;
    Ok(secret)
}

async fn load(cx: &mut Cx, id: Uuid) -> Result<Client, Failure> {
    let client = store::clients::find_client(cx.db(), id).await?;
    client.ok_or_else(|| Failure::Inconsistent(format!("client {id} is not there")))
}

pub(crate) async fn rotate_secret(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<RotateClientSecret>],
) -> Answers<ClientAndSecret> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let RotateClientSecret { id, overlap_s } = request.body;
        let before = store::clients::find_client(cx.db(), id).await?;
        let rotated = rotate(cx, &request.caller, CLIENTS, id, overlap_s).await?;
        if let Ok(rotated) = &rotated {
            record(cx, request, CLIENTS, before.as_ref(), &rotated.client);
        }
        answers.push(rotated);
    }
    Ok(answers)
}

pub(crate) async fn rotate(
    cx: &mut Cx,
    by: &Caller,
    kind: Kind,
    id: Uuid,
    overlap_s: Option<u32>,
) -> Result<Result<ClientAndSecret, Problem>, Failure> {
    if let Err(problem) = may_change(cx, by, kind, id).await? {
        return Ok(Err(problem));
    }
    if overlap_s.is_some_and(|seconds| seconds > OVERLAP_S_MAX) {
        let detail = format!("must be at most {OVERLAP_S_MAX}");
        let error = FieldError::new("/overlap_s", "out_of_range", detail);
        return Ok(Err(Problem::invalid(vec![error])));
    }
    let overlap = overlap_s.map_or(OVERLAP, |seconds| Duration::from_secs(seconds.into()));
    store::clients::retire_secrets(cx.db(), id, overlap, SECRETS_MAX - 1).await?;
    let client_secret = Some(give_secret(cx, id).await?);
    tracing::info!(client_id = %id, "gave a client another secret");
    let client = load(cx, id).await?;
    Ok(Ok(ClientAndSecret {
        client,
        client_secret,
    }))
}

pub(crate) async fn set_keys(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<SetClientKeys>],
) -> Answers<Client> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let SetClientKeys { id, keys } = &request.body;
        let may = may_change(cx, &request.caller, CLIENTS, *id).await?;
        answers.push(match may.and_then(|()| read_keys(cx, keys)) {
            Ok(keys) => {
                let before = load(cx, *id).await?;
                store::clients::save_client_keys(cx.db(), *id, &keys).await?;
                let after = load(cx, *id).await?;
                record(cx, request, CLIENTS, Some(&before), &after);
                Ok(after)
            }
            Err(problem) => Err(problem),
        });
    }
    Ok(answers)
}

pub(crate) async fn revoke(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<RevokeClient>],
) -> Answers<Client> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let before = store::clients::find_client(cx.db(), request.body.id).await?;
        let ended = end(cx, CLIENTS, request.body.id).await?;
        if let Ok(client) = &ended {
            record(cx, request, CLIENTS, before.as_ref(), client);
        }
        answers.push(ended);
    }
    Ok(answers)
}

/// Whoever is revoked already stays so: to ask again is no mistake.
pub(crate) async fn end(
    cx: &mut Cx,
    kind: Kind,
    id: Uuid,
) -> Result<Result<Client, Problem>, Failure> {
    let locked = store::clients::lock_client(cx.db(), id).await?;
    if locked.is_some_and(|(grants, _)| kind.is_of(&grants)) {
        store::clients::revoke_client(cx.db(), id).await?;
        store::clients::insert_revocation(cx.db(), id).await?;
        tracing::warn!(client_id = %id, "revoked a client");
    }
    let client = store::clients::find_client(cx.db(), id).await?;
    let client = client.filter(|client| kind.is_of(&names(&client.grants)));
    Ok(client.ok_or_else(|| kind.not_found()))
}

fn names(grants: &[GrantType]) -> Vec<&'static str> {
    grants.iter().map(|grant| grant.as_str()).collect()
}

pub(crate) async fn get(
    db: &PgPool,
    _: &Auth,
    request: &Request<GetClient>,
) -> Result<Client, Refused> {
    one(db, CLIENTS, request.body.id).await
}

pub(crate) async fn one(db: &PgPool, kind: Kind, id: Uuid) -> Result<Client, Refused> {
    let mut db = db.acquire().await?;
    let client = store::clients::find_client(&mut db, id).await?;
    let client = client.filter(|client| kind.is_of(&names(&client.grants)));
    Ok(client.ok_or_else(|| kind.not_found())?)
}

pub(crate) async fn list(
    db: &PgPool,
    _: &Auth,
    request: &Request<ListClients>,
) -> Result<Clients, Refused> {
    page(db, CLIENTS, &request.body).await
}

pub(crate) async fn page(db: &PgPool, kind: Kind, asked: &ListClients) -> Result<Clients, Refused> {
    let ListClients {
        revoked,
        limit,
        cursor,
    } = asked;
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let detail = format!("must be 1 to {PAGE_MAX}");
        let error = FieldError::new("/limit", "out_of_range", detail);
        return Err(Problem::invalid(vec![error]).into());
    }
    let after = cursor.as_deref().map_or(Ok(Uuid::nil()), Uuid::try_parse);
    let after = after.map_err(|_| {
        let why = "use the next_cursor of the page before";
        Problem::new(400, "invalid_cursor", why)
    })?;
    let filter = ClientFilter {
        revoked: *revoked,
        grants: kind.grants,
        after,
        limit: i64::from(limit) + 1,
    };
    let mut db = db.acquire().await?;
    let mut items = store::clients::find_clients(&mut db, &filter).await?;
    let page = usize::try_from(limit).unwrap_or(usize::MAX);
    let next_cursor = (items.len() > page).then(|| items[page - 1].id.to_string());
    items.truncate(page);
    Ok(Clients { items, next_cursor })
}

/// Whether somebody may give a client new secrets or keys, with which they could do what it can.
async fn may_change(
    cx: &mut Cx,
    by: &Caller,
    kind: Kind,
    id: Uuid,
) -> Result<Result<(), Problem>, Failure> {
    match store::clients::lock_client(cx.db(), id).await? {
        Some((grants, scopes)) if kind.is_of(&grants) => Ok(may_hand_out(by, &scopes)),
        _ => Ok(Err(kind.not_found())),
    }
}

/// Nobody gives away what is for staff and they do not have themselves.
fn may_hand_out(by: &Caller, scopes: &[String]) -> Result<(), Problem> {
    let held: Vec<&str> = by
        .claims()
        .map_or_else(Vec::new, |it| it.scope.split(' ').collect());
    let may = |scope: &str| !scope.ends_with(":write") || held.contains(&scope);
    match scopes.iter().find(|scope| !may(scope)) {
        Some(scope) => Err(Problem::forbidden(scope)),
        None => Ok(()),
    }
}

fn read_keys(cx: &mut Cx, keys: &[Value]) -> Result<Vec<ClientKey>, Problem> {
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
fn faults(wanted: &AddClient) -> Vec<FieldError> {
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
