//! Tokens.

use shopzen_chassis::{Answers, Cx, Failure, Request};
use shopzen_contracts::{
    Problem, Role, Scope,
    auth::{IssueOperatorToken, IssueToken, IssuedToken, OPERATOR},
};

use crate::{
    Auth, keys, store,
    token::{self, Account},
};

/// The longest address, in bytes (RFC 5321, 4.5.3.1.3).
const EMAIL_LENGTH_MAX: usize = 254;

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
    let signer = keys::signer(cx.db(), auth).await?;
    let claims = token::claims(account, cx.new_id(), cx.now(), auth.token_lifetime);
    let access_token = signer.sign(&claims)?;
    tracing::info!(account_id = %account.id, jti = %claims.jti, "issued a token");
    Ok(IssuedToken {
        access_token,
        token_type: "Bearer".to_owned(),
        expires_in: auth.token_lifetime.as_secs(),
        scope: claims.scope,
    })
}

/// An address as accounts have it. None where no account can have it.
pub(crate) fn normalised(email: &str) -> Option<String> {
    let email = email.trim().to_lowercase();
    let is_possible = (1..=EMAIL_LENGTH_MAX).contains(&email.len())
        // PostgreSQL takes no NUL.
        && !email.contains(char::is_control);
    is_possible.then_some(email)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_in_any_case() {
        assert_eq!(
            normalised(" Staff@Demo.Test ").as_deref(),
            Some("staff@demo.test")
        );
        for impossible in ["", "  ", "a\0@b.test", &"a".repeat(255)] {
            assert_eq!(normalised(impossible), None, "{impossible:?}");
        }
    }
}
