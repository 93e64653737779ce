//! Who has which roles, and who may change that.

use serde_json::json;
use shopzen_chassis::{Act, Answers, Caller, Cx, Failure, Refused, Request};
use shopzen_contracts::{
    Command, Problem, Role, Scope,
    auth::{
        AccountRoles, GetAccountRoles, GetCustomerRoles, ListRoles, RoleMeaning, Roles,
        ScopeMeaning, SetAccountRoles, SetCustomerRoles,
    },
    rights::scopes_of,
};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    Auth,
    commands::normalised,
    store::{self, accounts::Whose},
};

/// An account, as far as its roles go.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) id: Uuid,
    pub(crate) email: String,
    /// In the order of [`Role::ALL`], each once.
    pub(crate) roles: Vec<Role>,
    pub(crate) version: i64,
}

impl From<Holder> for AccountRoles {
    fn from(holder: Holder) -> Self {
        Self {
            account_id: holder.id,
            email: holder.email,
            scopes: scopes_of(&holder.roles),
            roles: holder.roles,
            version: holder.version,
        }
    }
}

pub(crate) async fn list(_: &PgPool, _: &Auth, _: &Request<ListRoles>) -> Result<Roles, Refused> {
    let meaning = |scope: &Scope| ScopeMeaning {
        scope: *scope,
        meaning: scope.meaning().to_owned(),
    };
    Ok(Roles {
        items: Role::ALL
            .map(|role| RoleMeaning {
                role,
                scopes: role.scopes().iter().map(meaning).collect(),
            })
            .into(),
        next_cursor: None,
    })
}

pub(crate) async fn of_customer(
    db: &PgPool,
    auth: &Auth,
    request: &Request<GetCustomerRoles>,
) -> Result<AccountRoles, Refused> {
    let mut db = db.acquire().await?;
    find(&mut db, auth, Whose::Id(request.body.account_id)).await
}

pub(crate) async fn of_account(
    db: &PgPool,
    auth: &Auth,
    request: &Request<GetAccountRoles>,
) -> Result<AccountRoles, Refused> {
    let email = normalised(&request.body.email).ok_or_else(no_such_account)?;
    let mut db = db.acquire().await?;
    find(&mut db, auth, Whose::Email(&email)).await
}

async fn find(
    db: &mut PgConnection,
    auth: &Auth,
    whose: Whose<'_>,
) -> Result<AccountRoles, Refused> {
    let holder = store::roles::find_holder(db, whose, auth.demo_accounts).await?;
    Ok(holder.ok_or_else(no_such_account)?.into())
}

pub(crate) async fn set_of_customer(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<SetCustomerRoles>],
) -> Answers<AccountRoles> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let giver = Giver {
            caller: Some(&request.caller),
            if_match: request.if_match.as_deref(),
        };
        let whose = Whose::Id(request.body.account_id);
        let set = set(cx, auth, whose, &request.body.roles, &giver).await?;
        answers.push(set.map(|changed| recorded(cx, request, changed)));
    }
    Ok(answers)
}

pub(crate) async fn set_of_account(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<SetAccountRoles>],
) -> Answers<AccountRoles> {
    let operator = Giver {
        caller: None,
        if_match: None,
    };
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(match normalised(&request.body.email) {
            Some(email) => {
                let whose = Whose::Email(&email);
                let set = set(cx, auth, whose, &request.body.roles, &operator).await?;
                set.map(|changed| recorded(cx, request, changed))
            }
            None => Err(no_such_account()),
        });
    }
    Ok(answers)
}

/// Who changes roles.
struct Giver<'a> {
    /// None is the operator, who has everything.
    caller: Option<&'a Caller>,
    /// The version they read, or `*`. None where they did not look.
    if_match: Option<&'a str>,
}

async fn set(
    cx: &mut Cx,
    auth: &Auth,
    whose: Whose<'_>,
    roles: &[Role],
    giver: &Giver<'_>,
) -> Result<Result<Changed, Problem>, Failure> {
    // Of two who each remove the other owner, the second sees what the first did.
    let owners = store::roles::lock_owners(cx.db(), auth.demo_accounts).await?;
    let holder = store::roles::lock_holder(cx.db(), whose, auth.demo_accounts).await?;
    let Some(before) = holder else {
        return Ok(Err(no_such_account()));
    };
    let mut after = before.clone();
    after.roles = ordered(roles);
    if let Err(problem) = check(&before, &after.roles, giver, &owners) {
        return Ok(Err(problem));
    }
    if after.roles != before.roles {
        after.version += 1;
        store::roles::save_roles(cx.db(), &after).await?;
        tracing::info!(account_id = %after.id, roles = ?after.roles, "roles were changed");
    }
    Ok(Ok(Changed { before, after }))
}

/// Roles as they were and as they are.
struct Changed {
    before: Holder,
    after: Holder,
}

/// Keeps who changed whose roles. The address stays out of it: the account's id says who it is.
fn recorded<C: Command>(
    cx: &mut Cx,
    request: &Request<C>,
    Changed { before, after }: Changed,
) -> AccountRoles {
    if before.roles == after.roles {
        cx.changed_nothing(request);
    } else {
        let act = Act::on(format!("account {}", after.id))
            .from(&json!({ "roles": before.roles }))
            .to(&json!({ "roles": after.roles }));
        cx.record(request, act);
    }
    after.into()
}

/// Each once, in the order of [`Role::ALL`].
fn ordered(roles: &[Role]) -> Vec<Role> {
    let is_given = |role: &Role| roles.contains(role);
    Role::ALL.into_iter().filter(is_given).collect()
}

fn check(
    before: &Holder,
    after: &[Role],
    giver: &Giver<'_>,
    owners: &[Uuid],
) -> Result<(), Problem> {
    if giver
        .if_match
        .is_some_and(|tag| tag != "*" && tag != before.version.to_string())
    {
        let detail = format!("the roles are at version {} by now", before.version);
        return Err(Problem::new(412, "out_of_date", detail));
    }
    if let Some(caller) = giver.caller {
        // What somebody keeps is neither given nor taken.
        let changed: Vec<Role> = Role::ALL
            .into_iter()
            .filter(|role| before.roles.contains(role) != after.contains(role))
            .collect();
        let missing = scopes_of(&changed)
            .into_iter()
            .find(|scope| !caller.has_scope(*scope));
        if let Some(scope) = missing {
            return Err(Problem::forbidden(scope.name()));
        }
    }
    let is_last_owner = owners == [before.id] && !after.contains(&Role::Owner);
    if is_last_owner {
        return Err(Problem::new(
            409,
            "last_owner",
            "a shop has an owner; make somebody else one first",
        ));
    }
    Ok(())
}

fn no_such_account() -> Problem {
    Problem::new(404, "account_not_found", "there is no such account")
}

#[cfg(test)]
mod tests {
    use shopzen_contracts::auth::Claims;

    use super::*;

    fn holder(roles: &[Role]) -> Holder {
        Holder {
            id: Uuid::from_u128(1),
            email: "ada@example.com".to_owned(),
            roles: roles.to_vec(),
            version: 3,
        }
    }

    fn caller(role: Role) -> Caller {
        let scopes: Vec<&str> = role.scopes().iter().map(|scope| scope.name()).collect();
        Caller::Verified(Claims {
            iss: String::new(),
            sub: Uuid::from_u128(9),
            aud: String::new(),
            exp: 0,
            nbf: 0,
            iat: 0,
            jti: Uuid::nil(),
            sid: None,
            client_id: String::new(),
            scope: scopes.join(" "),
        })
    }

    fn code(before: &[Role], after: &[Role], by: Role, if_match: Option<&str>) -> Option<String> {
        let caller = caller(by);
        let giver = Giver {
            caller: Some(&caller),
            if_match,
        };
        let others = [Uuid::from_u128(1), Uuid::from_u128(9)];
        let checked = check(&holder(before), after, &giver, &others);
        checked.err().map(|problem| problem.code)
    }

    #[test]
    fn nobody_gives_or_takes_what_they_do_not_have() {
        use Role::{Admin, Finance, Owner, Shopper, Support};
        let forbidden = Some("forbidden".to_owned());
        assert_eq!(code(&[Shopper], &[Shopper, Support], Admin, None), None);
        assert_eq!(code(&[Shopper], &[Admin], Admin, None), None);
        assert_eq!(code(&[Shopper], &[Owner], Admin, None), forbidden);
        assert_eq!(code(&[Owner], &[Shopper], Admin, None), forbidden);
        assert_eq!(code(&[Owner], &[], Admin, None), forbidden);
        // Somebody else gave the higher role; beside it an admin gives what admins give.
        assert_eq!(code(&[Owner], &[Owner, Finance], Admin, None), None);
        assert_eq!(code(&[Shopper], &[Owner], Owner, None), None);
        assert_eq!(code(&[Owner], &[Shopper], Owner, None), None);
    }

    #[test]
    fn the_last_owner_stays_one() {
        let operator = Giver {
            caller: None,
            if_match: None,
        };
        let owner = holder(&[Role::Owner]);
        let check_with = |after: &[Role], owners: &[Uuid]| {
            let checked = check(&owner, after, &operator, owners);
            checked.err().map(|problem| problem.code)
        };
        let alone = [owner.id];
        let last = Some("last_owner".to_owned());
        assert_eq!(check_with(&[], &alone), last);
        assert_eq!(check_with(&[Role::Admin], &alone), last);
        assert_eq!(check_with(&[Role::Owner, Role::Shopper], &alone), None);
        assert_eq!(check_with(&[], &[owner.id, Uuid::from_u128(9)]), None);
    }

    #[test]
    fn what_was_not_read_is_not_overwritten() {
        let set = |if_match| code(&[Role::Shopper], &[], Role::Admin, if_match);
        assert_eq!(
            [set(Some("3")), set(Some("*")), set(None)],
            [None, None, None]
        );
        assert_eq!(set(Some("2")).as_deref(), Some("out_of_date"));
    }
}
