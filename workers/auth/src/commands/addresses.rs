//! People's address books. Another's address is not there.

use shopzen_chassis::{Answers, Caller, Cx, Failure, Request};
use shopzen_contracts::{
    Address, Problem,
    auth::{
        accounts::Done,
        addresses::{AddAddress, Addresses, ChangeAddress, RemoveAddress, SavedAddress},
    },
};
use uuid::Uuid;

use super::accounts::account_of;
use crate::{Auth, store::addresses};

pub(crate) async fn add(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<AddAddress>],
) -> Answers<SavedAddress> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let AddAddress {
            address,
            is_default,
        } = &request.body;
        let saved = SavedAddress {
            id: cx.new_id(),
            address: address.clone().into(),
            is_default: *is_default,
        };
        answers.push(match owner(cx, &request.caller, address).await? {
            Err(problem) => Err(problem),
            Ok(account_id) if is_full(cx, account_id).await? => Err(too_many()),
            Ok(account_id) => {
                addresses::save(cx.db(), account_id, &saved).await?;
                Ok(saved)
            }
        });
    }
    Ok(answers)
}

pub(crate) async fn change(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<ChangeAddress>],
) -> Answers<SavedAddress> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let ChangeAddress {
            id,
            address,
            is_default,
        } = &request.body;
        let account_id = match owner(cx, &request.caller, address).await? {
            Ok(account_id) => account_id,
            Err(problem) => {
                answers.push(Err(problem));
                continue;
            }
        };
        if addresses::find(cx.db(), account_id, *id).await?.is_none() {
            answers.push(Err(no_such_address()));
            continue;
        }
        let saved = SavedAddress {
            id: *id,
            address: address.clone().into(),
            is_default: *is_default,
        };
        addresses::save(cx.db(), account_id, &saved).await?;
        answers.push(Ok(saved));
    }
    Ok(answers)
}

pub(crate) async fn remove(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<RemoveAddress>],
) -> Answers<Done> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(match account_of(&request.caller) {
            Err(problem) => Err(problem),
            Ok(account_id) => {
                let is_gone = addresses::delete(cx.db(), account_id, request.body.id).await?;
                is_gone.then_some(Done {}).ok_or_else(no_such_address)
            }
        });
    }
    Ok(answers)
}

/// Whose address book a good address goes into.
async fn owner(
    cx: &mut Cx,
    caller: &Caller,
    address: &Address,
) -> Result<Result<Uuid, Problem>, Failure> {
    let account_id = match account_of(caller) {
        Ok(id) => id,
        Err(problem) => return Ok(Err(problem)),
    };
    let errors = address.check("/address");
    if !errors.is_empty() {
        return Ok(Err(Problem::invalid(errors)));
    }
    let is_there = addresses::lock_book(cx.db(), account_id).await?;
    Ok(is_there
        .then_some(account_id)
        .ok_or_else(|| Problem::not_found("account")))
}

async fn is_full(cx: &mut Cx, account_id: Uuid) -> Result<bool, Failure> {
    let count = addresses::count(cx.db(), account_id).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX) >= Addresses::ITEMS_MAX)
}

fn too_many() -> Problem {
    let detail = format!("an address book has at most {}", Addresses::ITEMS_MAX);
    Problem::new(409, "too_many_addresses", detail)
}

pub(crate) fn no_such_address() -> Problem {
    Problem::not_found("address")
}
