//! Tokens.

use shopzen_chassis::{Answers, Cx, Failure, Request};
use shopzen_contracts::{
    Problem, Role, Scope,
    auth::{IssueOperatorToken, IssueToken, IssuedToken, OPERATOR},
};

use super::normalised;
use crate::{
    Auth, grants, store,
    token::{Account, Subject},
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
        Some(email) => store::find_account(cx.db(), &email, auth.demo_accounts).await?,
        None => None,
    };
    let Some(account) = account else {
        return Ok(Err(Problem::new(
            404,
            "account_not_found",
            "there is no account with this address",
        )));
    };
    Ok(Ok(token_for(cx, auth, &account).await?))
}

/// For operators, whether or not there is an account of staff: NATS lets nobody else ask.
pub(crate) async fn issue_operator_token(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<IssueOperatorToken>],
) -> Answers<IssuedToken> {
    let operator = Account {
        id: OPERATOR,
        scopes: Role::Owner.scopes().iter().map(Scope::to_string).collect(),
    };
    let mut answers = Vec::with_capacity(requests.len());
    for _ in requests {
        answers.push(Ok(token_for(cx, auth, &operator).await?));
    }
    Ok(answers)
}

async fn token_for(cx: &mut Cx, auth: &Auth, account: &Account) -> Result<IssuedToken, Failure> {
    grants::issue(cx, auth, Subject::of_operator(account)).await
}
