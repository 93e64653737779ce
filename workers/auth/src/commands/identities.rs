//! Signing in with an account elsewhere, and linking it with the account here.
//!
//! A browser's trip to a provider: what it takes along is sealed (`providers.rs`), so nothing is kept before it is back. Then the trip
//! has ended for good (a row), the provider is asked who it is (no transaction waits for that), and what it has shown counts once.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jiff::SignedDuration;
use shopzen_chassis::{Answers, Caller, Cx, Failure, Refused, Request, clock};
use shopzen_contracts::{
    Problem, Role,
    auth::{
        accounts::Done,
        identities::{
            AskProvider, BeginTrip, DescribeIdentity, EndTrip, Identities, Identity,
            IdentityDescription, LinkIdentity, ListIdentities, ListProviders, ProviderSignIn,
            Providers, Shown, SignInByProvider, Trip, TripEnd, UnlinkIdentity,
        },
    },
};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    accounts::account_of,
    check_name, normalised,
    sessions::{Begun, Challenged, begin_session, challenge},
};
use crate::{
    Auth,
    factors::BY_PROVIDER,
    providers::{
        IdentitySeal, Question, TRIP_LIFETIME, TicketSeal, TripSeal, close, open, redirect_uri,
    },
    secrets,
    store::{self, accounts::Whose, identities::NewIdentity},
};

/// Whoever links an identity has shown within this time who they are: it is a way in for good.
const LINK_AUTHENTICATION_AGE_MAX: Duration = Duration::from_mins(15);
/// Identities of one account.
const IDENTITIES_MAX: i64 = 20;
/// Bytes of a path in the shop to come back to, and of an address or a name from a provider.
const RETURN_TO_BYTES_MAX: usize = 1_024;
const LABEL_LENGTH_MAX: usize = 254;

/// A trip that has ended before, is too old, or is another browser's. Which of them does not matter to who makes it.
fn no_trip() -> Problem {
    let why = "this sign-in was finished or given up, or began in another browser; start again";
    Problem::new(400, "trip_invalid", why)
}

pub(crate) async fn list_providers(
    _: &PgPool,
    auth: &Auth,
    _: &Request<ListProviders>,
) -> Result<Providers, Refused> {
    Ok(Providers {
        items: auth.providers.list(),
    })
}

pub(crate) async fn begin_trip(
    _: &PgPool,
    auth: &Auth,
    request: &Request<BeginTrip>,
) -> Result<Trip, Refused> {
    let wish = &request.body;
    let remote = auth.providers.find(&wish.provider)?;
    let return_to = Some(&wish.return_to).filter(|it| it.len() <= RETURN_TO_BYTES_MAX);
    let (state, nonce, verifier) = (
        secrets::new_secret()?,
        secrets::new_secret()?,
        secrets::new_secret()?,
    );
    let question = Question {
        redirect_uri: &redirect_uri(&auth.issuer, &wish.provider),
        state: state.expose(),
        nonce: nonce.expose(),
        challenge: &BASE64URL_NOPAD.encode(&secrets::hash(verifier.expose())),
    };
    let address = remote.address(&question).await;
    let (location, names_itself) = address.map_err(|wrong| wrong.into_problem(&wish.provider))?;
    let trip = TripSeal {
        id: clock::new_id(),
        provider: wish.provider.clone(),
        state,
        nonce,
        verifier,
        return_to: return_to.cloned().unwrap_or_default(),
        is_to_link: wish.is_to_link,
        names_itself,
        at: clock::now(),
    };
    Ok(Trip {
        location,
        trip: close(auth, &trip)?,
    })
}

pub(crate) async fn end_trip(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<EndTrip>],
) -> Answers<TripEnd> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(arrive(cx, auth, &request.body).await?);
    }
    Ok(answers)
}

async fn arrive(
    cx: &mut Cx,
    auth: &Auth,
    answer: &EndTrip,
) -> Result<Result<TripEnd, Problem>, Failure> {
    let Some(trip) = open::<TripSeal>(auth, &answer.trip, cx.now())? else {
        return Ok(Err(no_trip()));
    };
    let remote = match auth.providers.find(&answer.provider) {
        Ok(remote) => remote,
        Err(problem) => return Ok(Err(problem)),
    };
    if trip.provider != answer.provider || trip.state != answer.state {
        return Ok(Err(no_trip()));
    }
    let is_its_own = match answer.iss.as_deref() {
        Some(iss) => iss == remote.issuer(),
        None => !trip.names_itself,
    };
    if !is_its_own {
        let why = "the answer is not from the provider that was asked; start again";
        return Ok(Err(Problem::new(400, "provider_mixed_up", why)));
    }
    if !store::identities::insert_trip(cx.db(), trip.id).await? {
        return Ok(Err(no_trip()));
    }
    let (None, Some(code)) = (&answer.error, &answer.code) else {
        let return_to = trip.return_to;
        return Ok(Ok(TripEnd::Declined { return_to }));
    };
    let ticket = TicketSeal {
        id: trip.id,
        provider: trip.provider,
        code: code.clone(),
        nonce: trip.nonce,
        verifier: trip.verifier,
        at: cx.now(),
    };
    Ok(Ok(TripEnd::Arrived {
        ticket: close(auth, &ticket)?,
        return_to: trip.return_to,
        is_to_link: trip.is_to_link,
    }))
}

pub(crate) async fn ask_provider(
    _: &PgPool,
    auth: &Auth,
    request: &Request<AskProvider>,
) -> Result<Shown, Refused> {
    let now = clock::now();
    let ticket = open::<TicketSeal>(auth, &request.body.ticket, now)?.ok_or_else(no_trip)?;
    let remote = auth.providers.find(&ticket.provider)?;
    let redirect_uri = redirect_uri(&auth.issuer, &ticket.provider);
    let person = remote.person(&ticket, &redirect_uri, now).await;
    let person = person.map_err(|wrong| wrong.into_problem(&ticket.provider))?;
    let short = |text: String| Some(text).filter(|it| it.chars().count() <= LABEL_LENGTH_MAX);
    let identity = IdentitySeal {
        id: ticket.id,
        provider: ticket.provider,
        issuer: remote.issuer().to_owned(),
        subject: person.subject,
        email: person.email.as_deref().and_then(normalised),
        is_email_verified: person.is_email_verified,
        name: person
            .name
            .and_then(short)
            .and_then(|name| check_name(&name).ok()),
        at: now,
    };
    Ok(Shown {
        identity: close(auth, &identity)?,
    })
}

pub(crate) async fn sign_in(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<SignInByProvider>],
) -> Answers<ProviderSignIn> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(begin(cx, auth, &request.body).await?);
    }
    Ok(answers)
}

async fn begin(
    cx: &mut Cx,
    auth: &Auth,
    wish: &SignInByProvider,
) -> Result<Result<ProviderSignIn, Problem>, Failure> {
    let Some(identity) = open::<IdentitySeal>(auth, &wish.identity, cx.now())? else {
        return Ok(Err(no_trip()));
    };
    if !store::identities::lock_trip(cx.db(), identity.id, TRIP_LIFETIME).await? {
        return Ok(Err(no_trip()));
    }
    let owner = store::identities::find_owner(cx.db(), &identity.issuer, &identity.subject).await?;
    let account_id = match owner {
        Some(id) => id,
        None => match make_account(cx, &identity).await? {
            Made::Account(id) => id,
            Made::Nothing(outcome) => return Ok(Ok(outcome)),
        },
    };
    let account =
        store::accounts::find_credentials(cx.db(), Whose::Id(account_id), auth.demo_accounts)
            .await?;
    let Some(account) = account else {
        return Ok(Err(no_trip()));
    };
    store::identities::save_trip_used(cx.db(), identity.id).await?;
    if let Some(Challenged { challenge, methods }) = challenge(cx, &account, BY_PROVIDER).await? {
        return Ok(Ok(ProviderSignIn::SecondFactorNeeded {
            challenge,
            methods,
        }));
    }
    let begun = Begun {
        amr: BY_PROVIDER,
        has_shown_factor: false,
        device: &wish.device,
        instead_of: wish.instead_of.as_ref(),
    };
    let session = begin_session(cx, &account, begun).await?;
    Ok(Ok(ProviderSignIn::SignedIn { session }))
}

enum Made {
    Account(Uuid),
    /// What has to happen before.
    Nothing(ProviderSignIn),
}

/// An account for somebody who has none, with an address that the provider vouches for: those of accounts are confirmed.
async fn make_account(cx: &mut Cx, identity: &IdentitySeal) -> Result<Made, Failure> {
    let email = identity
        .email
        .as_deref()
        .filter(|it| identity.is_email_verified && shopzen_contracts::is_email(it));
    let Some(email) = email else {
        // The same whether there is an account with that address or not: whoever asks has not shown that it is theirs.
        return Ok(Made::Nothing(ProviderSignIn::Unconfirmed));
    };
    let (before_at, _) = email.split_once('@').unwrap_or((email, ""));
    let name = identity.name.as_deref().unwrap_or(before_at);
    let name = check_name(name).unwrap_or_else(|_| "Shopper".to_owned());
    let id = cx.new_id();
    let is_new =
        store::identities::insert_account(cx.db(), id, email, &name, Role::Shopper).await?;
    if !is_new {
        return Ok(Made::Nothing(ProviderSignIn::LinkFirst));
    }
    link(cx, identity, id).await?;
    tracing::info!(account_id = %id, provider = identity.provider, "an account was made");
    Ok(Made::Account(id))
}

async fn link(cx: &mut Cx, identity: &IdentitySeal, account_id: Uuid) -> Result<bool, Failure> {
    let new = NewIdentity {
        id: cx.new_id(),
        account_id,
        issuer: &identity.issuer,
        subject: &identity.subject,
        provider: &identity.provider,
        label: identity.label(),
    };
    store::identities::insert(cx.db(), &new).await
}

pub(crate) async fn describe(
    _: &PgPool,
    auth: &Auth,
    request: &Request<DescribeIdentity>,
) -> Result<IdentityDescription, Refused> {
    let identity = open::<IdentitySeal>(auth, &request.body.identity, clock::now())?;
    let identity = identity.ok_or_else(no_trip)?;
    Ok(IdentityDescription {
        provider: auth.providers.describe(&identity.provider),
        label: identity.label().to_owned(),
    })
}

pub(crate) async fn link_identity(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<LinkIdentity>],
) -> Answers<Done> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(link_with(cx, auth, &request.caller, &request.body).await?);
    }
    Ok(answers)
}

async fn link_with(
    cx: &mut Cx,
    auth: &Auth,
    caller: &Caller,
    wish: &LinkIdentity,
) -> Result<Result<Done, Problem>, Failure> {
    // Whoever is not signed in has not done so of late either.
    let is_fresh = has_signed_in_lately(cx, caller).await?;
    let Some(account_id) = caller.account_id().filter(|_| is_fresh) else {
        let why = "sign in once more before you link an account";
        return Ok(Err(Problem::new(403, "sign_in_again", why)));
    };
    let Some(identity) = open::<IdentitySeal>(auth, &wish.identity, cx.now())? else {
        return Ok(Err(no_trip()));
    };
    if !store::identities::lock_trip(cx.db(), identity.id, TRIP_LIFETIME).await? {
        return Ok(Err(no_trip()));
    }
    if store::identities::lock_ways_in(cx.db(), account_id).await? >= IDENTITIES_MAX {
        let why = format!("an account has at most {IDENTITIES_MAX} ways to sign in");
        return Ok(Err(Problem::new(409, "too_many_identities", why)));
    }
    let is_new = link(cx, &identity, account_id).await?;
    let owner = store::identities::find_owner(cx.db(), &identity.issuer, &identity.subject).await?;
    if owner != Some(account_id) {
        let why = "with this one somebody signs in to another account here";
        return Ok(Err(Problem::new(409, "identity_taken", why)));
    }
    store::identities::save_trip_used(cx.db(), identity.id).await?;
    if is_new {
        tracing::info!(%account_id, provider = identity.provider, "an identity was linked");
    }
    Ok(Ok(Done {}))
}

/// In our own pages: an app that somebody let in makes itself no other way in.
async fn has_signed_in_lately(cx: &mut Cx, caller: &Caller) -> Result<bool, Failure> {
    let Some(session_id) = caller.session_id() else {
        return Ok(false);
    };
    let authentication = store::authorization::find_authentication(cx.db(), session_id).await?;
    let at = authentication.map(|it| it.at());
    let now = store::authorization::load_now(cx.db()).await?;
    let age_max = SignedDuration::try_from(LINK_AUTHENTICATION_AGE_MAX);
    let age_max = age_max.unwrap_or(SignedDuration::ZERO);
    Ok(at.is_some_and(|at| now.duration_since(at) <= age_max))
}

pub(crate) async fn list(
    db: &PgPool,
    auth: &Auth,
    request: &Request<ListIdentities>,
) -> Result<Identities, Refused> {
    let account_id = account_of(&request.caller)?;
    let has_password = store::identities::find_has_password(db, account_id).await?;
    let has_password = has_password.ok_or_else(|| Problem::not_found("account"))?;
    Ok(Identities {
        items: find_of(db, auth, account_id).await?,
        has_password,
    })
}

pub(crate) async fn find_of(
    db: &PgPool,
    auth: &Auth,
    account_id: Uuid,
) -> Result<Vec<Identity>, Failure> {
    let linked = store::identities::find_of(db, account_id).await?;
    let identities = linked.into_iter().map(|identity| Identity {
        id: identity.id,
        provider: auth.providers.describe(&identity.provider),
        created_at: identity.created_at(),
        label: identity.label,
    });
    Ok(identities.collect())
}

pub(crate) async fn unlink(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<UnlinkIdentity>],
) -> Answers<Done> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(match account_of(&request.caller) {
            Ok(account_id) => unlink_of(cx, account_id, request.body.id).await?,
            Err(problem) => Err(problem),
        });
    }
    Ok(answers)
}

async fn unlink_of(
    cx: &mut Cx,
    account_id: Uuid,
    id: Uuid,
) -> Result<Result<Done, Problem>, Failure> {
    let ways_in = store::identities::lock_ways_in(cx.db(), account_id).await?;
    if !store::identities::is_of(cx.db(), account_id, id).await? {
        return Ok(Err(Problem::not_found("identity")));
    }
    if ways_in <= 1 {
        let why = "it is the only way to sign in to this account; set a password first, by Forgot your password";
        return Ok(Err(Problem::new(409, "last_way_in", why)));
    }
    store::identities::delete(cx.db(), id).await?;
    tracing::info!(%account_id, "an identity was unlinked");
    Ok(Ok(Done {}))
}

/// Trips of which nothing counts any more.
pub(crate) async fn forget(cx: &mut Cx) -> Result<(), Failure> {
    // A trip cannot end twice while its seal is good, so it is remembered for longer than that.
    store::identities::forget_trips(cx.db(), TRIP_LIFETIME * 6).await
}
