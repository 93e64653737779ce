//! `/sign-in/with/…` and `/account/identities/…`: signing in with an account elsewhere, and linking it with the one here.
//!
//! What comes back from a provider by GET counts only with the cookie that this browser was sent off with, and only once; and an
//! account is linked by a form alone, on which its owner sees with whom.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    http::{HeaderMap, StatusCode, header::SET_COOKIE},
    response::Response,
};
use shopzen_contracts::{
    Confidential, Problem,
    auth::identities::{
        AskProvider, BeginTrip, DescribeIdentity, EndTrip, IdentityDescription, LinkIdentity,
        ProviderSignIn, SignInByProvider, TripEnd, UnlinkIdentity,
    },
};
use uuid::Uuid;

use super::{message, own_path, private, see_other, sign_in};
use crate::{
    pages::{assets::STYLE_SHEET, form::OwnForm},
    params::Params,
    problem::Refusal,
    request::Named,
    session::{Attempt, Visitor, set_cookie, set_trip_cookie, trip_cookie},
};

/// Where somebody says whether the account elsewhere is to be linked.
pub(crate) const LINK: &str = "/account/identities/link";
/// Where who is not signed in, or not of late, does so first.
const SIGN_IN_TO_LINK: &str = "/sign-in?return_to=/account/identities/link";
/// A provider is asked several things, and each may take a while.
const PROVIDER_DEADLINE: Duration = Duration::from_secs(11);

fn trip_invalid() -> Refusal {
    let why = "this sign-in was finished or given up, or began in another browser; start again";
    Refusal::Worker(Box::new(Problem::new(400, "trip_invalid", why)))
}

/// Leads a browser to a provider.
pub(crate) async fn set_out(
    _: Attempt,
    Named(provider): Named<String>,
    mut form: OwnForm,
) -> Result<Response, Refusal> {
    let wanted = form.text("return_to")?;
    let begin = BeginTrip {
        provider,
        return_to: own_path(&wanted).unwrap_or(sign_in::HOME).to_owned(),
        is_to_link: form.text("purpose")? == "link",
    };
    let mut caller = form.visitor.caller;
    caller.asking.deadline = PROVIDER_DEADLINE;
    let trip = caller.query_for(&begin).await?;
    let mut response = sign_in::onward(trip.location.expose())?;
    let cookie = set_trip_cookie(Some(&trip.trip), caller.edge.is_https);
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}

/// The provider has sent the browser back (RFC 6749, 4.1.2).
pub(crate) async fn come_back(
    Named(provider): Named<String>,
    headers: HeaderMap,
    mut params: Params,
    visitor: Visitor,
) -> Result<Response, Refusal> {
    let is_https = visitor.caller.edge.is_https;
    // What a browser takes along is good for one trip, whatever comes of it.
    let over = set_trip_cookie(None, is_https);
    let ended = EndTrip {
        provider,
        trip: trip_cookie(&headers, is_https).ok_or_else(trip_invalid)?,
        state: Confidential::new(params.text("state").unwrap_or_default()),
        iss: params.text("iss"),
        code: params.text("code").map(Confidential::new),
        error: params.text("error"),
    };
    params.finish_known()?;
    let mut response = arrive(visitor, &ended).await?;
    if !response.headers().contains_key(SET_COOKIE) {
        response.headers_mut().append(SET_COOKIE, over);
    }
    Ok(response)
}

async fn arrive(visitor: Visitor, ended: &EndTrip) -> Result<Response, Refusal> {
    let form_token = visitor.form_token();
    let Visitor {
        mut caller,
        cookie,
        device,
        ..
    } = visitor;
    let edge = Arc::clone(&caller.edge);
    let (ticket, return_to, is_to_link) = match caller.command_for(ended).await? {
        TripEnd::Arrived {
            ticket,
            return_to,
            is_to_link,
        } => (ticket, return_to, is_to_link),
        TripEnd::Declined { .. } => {
            return message(
                "Not signed in",
                "The other side did not let you through, or you changed your mind.",
                ("/sign-in", "Sign in another way"),
            );
        }
    };
    caller.asking.deadline = PROVIDER_DEADLINE;
    let identity = caller.query_for(&AskProvider { ticket }).await?.identity;
    let to_link = |target: &str| {
        let mut response = see_other(target)?;
        let kept = set_trip_cookie(Some(&identity), edge.is_https);
        response.headers_mut().append(SET_COOKIE, kept);
        Ok(response)
    };
    if is_to_link {
        return to_link(LINK);
    }
    let wish = SignInByProvider {
        identity: identity.clone(),
        device,
        instead_of: cookie.clone(),
    };
    let session = match caller.command_for(&wish).await? {
        ProviderSignIn::SignedIn { session } => session,
        ProviderSignIn::SecondFactorNeeded { challenge, methods } => {
            let from = sign_in::From {
                form_token,
                offers_passkeys: edge.offers_passkeys,
                return_to: own_path(&return_to).unwrap_or(sign_in::HOME).to_owned(),
            };
            return sign_in::ask_second(from, &challenge, &methods);
        }
        ProviderSignIn::LinkFirst => return to_link(SIGN_IN_TO_LINK),
        ProviderSignIn::Unconfirmed => {
            return message(
                "Make an account first",
                "The other side does not vouch for an e-mail address of yours. Make an account here, and then link \
                 the other one on the page of your account.",
                ("/sign-up", "Make an account"),
            );
        }
    };
    if let Some(before) = &cookie {
        edge.sessions.forget(before);
    }
    let return_to = own_path(&return_to).unwrap_or(sign_in::HOME);
    let mut response = see_other(return_to)?;
    let headers = response.headers_mut();
    headers.append(SET_COOKIE, set_cookie(&session, edge.is_https));
    headers.append(SET_COOKIE, set_trip_cookie(None, edge.is_https));
    Ok(response)
}

#[derive(Template)]
#[template(path = "account/link_identity.html")]
struct Link {
    style_sheet: &'static str,
    form_token: String,
    /// Whose account here it is.
    email: String,
    identity: IdentityDescription,
}

pub(crate) async fn ask_to_link(
    visitor: Visitor,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    params.finish()?;
    let form_token = visitor.form_token();
    let Some(session) = visitor.session else {
        return see_other(SIGN_IN_TO_LINK);
    };
    let is_https = visitor.caller.edge.is_https;
    let identity = trip_cookie(&headers, is_https).ok_or_else(trip_invalid)?;
    let asked = DescribeIdentity { identity };
    let page = Link {
        style_sheet: &STYLE_SHEET,
        form_token,
        email: session.account.email,
        identity: visitor.caller.query_for(&asked).await?,
    };
    private(StatusCode::OK, &page)
}

pub(crate) async fn link(headers: HeaderMap, mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN_TO_LINK);
    }
    let mut caller = form.visitor.caller.clone();
    let is_https = caller.edge.is_https;
    if form.text("answer")? == "yes" {
        let identity = trip_cookie(&headers, is_https).ok_or_else(trip_invalid)?;
        match caller.command_for(&LinkIdentity { identity }).await {
            Ok(_) => {}
            Err(Refusal::Worker(problem)) if problem.code == "sign_in_again" => {
                return see_other(SIGN_IN_TO_LINK);
            }
            Err(refusal) => return Err(refusal),
        }
    }
    let mut response = see_other("/account")?;
    let over = set_trip_cookie(None, is_https);
    response.headers_mut().append(SET_COOKIE, over);
    Ok(response)
}

pub(crate) async fn unlink(Named(id): Named<Uuid>, form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other("/sign-in?return_to=/account");
    }
    let mut caller = form.visitor.caller;
    caller.command_for(&UnlinkIdentity { id }).await?;
    see_other("/account")
}
