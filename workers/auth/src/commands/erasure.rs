//! The end of an account. What others know of the person, they forget when they hear of it.

use shopzen_chassis::{Answers, Cx, Failure, Request};
use shopzen_contracts::{
    Problem,
    auth::{
        accounts::PasswordOutcome,
        erasure::{AccountErased, EraseMe},
    },
};

use super::accounts::own;
use crate::{
    Auth, secrets,
    store::{self, accounts::Credentials, accounts::Whose, erasure, revocations},
};

pub(crate) async fn erase_me(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<EraseMe>],
) -> Answers<PasswordOutcome> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let checked = own(cx, auth, &request.caller, &request.body.current_password).await?;
        answers.push(match checked {
            Err(refused) => refused,
            Ok(account) => erase(cx, auth, request, account).await?,
        });
    }
    Ok(answers)
}

async fn erase(
    cx: &mut Cx,
    auth: &Auth,
    request: &Request<EraseMe>,
    Credentials { id, email, .. }: Credentials,
) -> Result<Result<PasswordOutcome, Problem>, Failure> {
    // Of two owners who go at the same time, the second sees that the first is gone.
    let owners = store::roles::lock_owners(cx.db(), auth.demo_accounts).await?;
    if owners == [id] {
        return Ok(Err(Problem::new(
            409,
            "last_owner",
            "a shop has an owner; make somebody else one first",
        )));
    }
    let holder = store::roles::lock_holder(cx.db(), Whose::Id(id), auth.demo_accounts).await?;
    let Some(holder) = holder else {
        return Ok(Err(Problem::not_found("account")));
    };
    let letter_ids = erasure::find_letters(cx.db(), id, &holder.email).await?;
    store::sessions::end_all(cx.db(), id, None).await?;
    revocations::insert_revocation(cx.db(), id).await?;
    for known in [&email, &holder.email] {
        store::sessions::forget_failures_of(cx.db(), &secrets::hash(known)).await?;
        erasure::erase(cx.db(), id, known).await?;
        cx.forget_answers_about(id, known).await?;
    }
    cx.forget_reasons(&[format!("account {id}")]).await?;
    let erased = AccountErased {
        account_id: id,
        letter_ids,
    };
    cx.publish(&erased, &request.cause);
    tracing::info!(account_id = %id, "an account was erased");
    Ok(Ok(PasswordOutcome::Accepted))
}
