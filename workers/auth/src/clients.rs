//! Clients as staff see them: registered, given secrets and keys, revoked.

use std::{collections::BTreeSet, time::Duration};

use shopzen_chassis::{Act, Answers, Caller, Cx, Failure, Refused, Request};
use shopzen_contracts::{
    Command, FieldError, Problem,
    auth::clients::{
        AddClient, Client, ClientAndSecret, Clients, GetClient, GrantType, ListClients,
        RevokeClient, RotateClientSecret, SetClientKeys,
    },
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Auth,
    factors::need_step_up,
    proof::new_secret,
    registration::{faults, read_keys},
    store::{
        self,
        clients::{ClientFilter, NewClient},
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
    if let Err(problem) = need_step_up(cx, by).await? {
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
        store::revocations::insert_revocation(cx.db(), id).await?;
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
        Some((grants, scopes)) if kind.is_of(&grants) => match may_hand_out(by, &scopes) {
            Ok(()) => need_step_up(cx, by).await,
            refused => Ok(refused),
        },
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
