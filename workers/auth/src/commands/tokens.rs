//! Tokens.

use shopzen_chassis::{Answers, Cx, Failure, Request};
use shopzen_contracts::{
    Problem, Role, Scope,
    auth::{IssueOperatorToken, IssueToken, IssuedToken, OPERATOR},
};
use uuid::Uuid;

use super::normalised;
use crate::{
    Auth, factors, grants,
    store::{self, accounts::Whose},
    token::Subject,
};

pub(crate) async fn issue_token(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<IssueToken>],
) -> Answers<IssuedToken> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(issue(cx, auth, &request.body.email).await?);
    }
    Ok(answers)
}

async fn issue(
    cx: &mut Cx,
    auth: &Auth,
    email: &str,
) -> Result<Result<IssuedToken, Problem>, Failure> {
    let account = match normalised(email) {
        Some(email) => {
            store::roles::find_holder(cx.db(), Whose::Email(&email), auth.demo_accounts).await?
        }
        None => None,
    };
    let Some(account) = account else {
        return Ok(Err(Problem::new(
            404,
            "account_not_found",
            "there is no account with this address",
        )));
    };
    let scopes = factors::scopes_for(cx, auth, account.id, &account.roles).await?;
    Ok(Ok(token_for(cx, auth, account.id, &scopes).await?))
}

/// For operators, whether or not there is an account of staff: NATS lets nobody else ask.
pub(crate) async fn issue_operator_token(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<IssueOperatorToken>],
) -> Answers<IssuedToken> {
    let mut answers = Vec::with_capacity(requests.len());
    for _ in requests {
        answers.push(Ok(
            token_for(cx, auth, OPERATOR, Role::Owner.scopes()).await?
        ));
    }
    Ok(answers)
}

async fn token_for(
    cx: &mut Cx,
    auth: &Auth,
    id: Uuid,
    scopes: &[Scope],
) -> Result<IssuedToken, Failure> {
    grants::issue(cx, auth, Subject::of_operator(id, scopes)).await
}
