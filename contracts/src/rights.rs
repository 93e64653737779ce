//! Who may ask what: one table. [`Access`] stands beside each subject, and the chassis checks it before any handler.
//!
//! A token carries the scopes of its account's roles. Roles are for people, scopes for messages: no handler ever asks
//! for a role. `RIGHTS.md` shows all of it.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Problem, Service, auth::Claims};

/// What a token allows. These are all there are.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Scope {
    #[serde(rename = "orders:place")]
    OrdersPlace,
    #[serde(rename = "orders:read")]
    OrdersRead,
    #[serde(rename = "profile:write")]
    ProfileWrite,
    #[serde(rename = "orders:write")]
    OrdersWrite,
    #[serde(rename = "catalog:write")]
    CatalogWrite,
    #[serde(rename = "stock:write")]
    StockWrite,
    #[serde(rename = "pricing:write")]
    PricingWrite,
    #[serde(rename = "accounts:write")]
    AccountsWrite,
    #[serde(rename = "partners:write")]
    PartnersWrite,
    #[serde(rename = "ops:write")]
    OpsWrite,
}

impl Scope {
    pub const ALL: [Self; 10] = [
        Self::OrdersPlace,
        Self::OrdersRead,
        Self::ProfileWrite,
        Self::OrdersWrite,
        Self::CatalogWrite,
        Self::StockWrite,
        Self::PricingWrite,
        Self::AccountsWrite,
        Self::PartnersWrite,
        Self::OpsWrite,
    ];

    /// As it stands in a token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrdersPlace => "orders:place",
            Self::OrdersRead => "orders:read",
            Self::ProfileWrite => "profile:write",
            Self::OrdersWrite => "orders:write",
            Self::CatalogWrite => "catalog:write",
            Self::StockWrite => "stock:write",
            Self::PricingWrite => "pricing:write",
            Self::AccountsWrite => "accounts:write",
            Self::PartnersWrite => "partners:write",
            Self::OpsWrite => "ops:write",
        }
    }

    /// What it allows.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::OrdersPlace => "Place orders in the account's name, and cancel them.",
            Self::OrdersRead => "Read the account's own orders.",
            Self::ProfileWrite => {
                "See and change the account itself: name, address, password, where it is signed in."
            }
            Self::OrdersWrite => "Read, ship, refund and cancel anybody's orders.",
            Self::CatalogWrite => {
                "Change products, categories and prices, and import and export them."
            }
            Self::StockWrite => "Correct and move what is on hand, and read its ledger.",
            Self::PricingWrite => "Change coupons and discounts.",
            Self::AccountsWrite => "See customers, and give and take roles.",
            Self::PartnersWrite => "Admit partners, and give and revoke their credentials.",
            Self::OpsWrite => {
                "Look after the machine room: dead letters, the audit, what staff did."
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What somebody is in the shop: a bundle of scopes under a name.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Shopper,
    Support,
    Merchandiser,
    Warehouse,
    Finance,
    Admin,
    Owner,
}

impl Role {
    pub const ALL: [Self; 7] = [
        Self::Shopper,
        Self::Support,
        Self::Merchandiser,
        Self::Warehouse,
        Self::Finance,
        Self::Admin,
        Self::Owner,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Shopper => "shopper",
            Self::Support => "support",
            Self::Merchandiser => "merchandiser",
            Self::Warehouse => "warehouse",
            Self::Finance => "finance",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Whoever works here may shop here as well.
    pub const fn scopes(self) -> &'static [Scope] {
        use Scope::{
            AccountsWrite, CatalogWrite, OrdersPlace, OrdersRead, OrdersWrite, PartnersWrite,
            PricingWrite, ProfileWrite, StockWrite,
        };
        match self {
            Self::Shopper => &[OrdersPlace, OrdersRead, ProfileWrite],
            Self::Support => &[OrdersPlace, OrdersRead, ProfileWrite, OrdersWrite],
            Self::Merchandiser => &[
                OrdersPlace,
                OrdersRead,
                ProfileWrite,
                CatalogWrite,
                PricingWrite,
            ],
            // Shipping is writing an order.
            Self::Warehouse => &[
                OrdersPlace,
                OrdersRead,
                ProfileWrite,
                OrdersWrite,
                StockWrite,
            ],
            Self::Finance => &[
                OrdersPlace,
                OrdersRead,
                ProfileWrite,
                OrdersWrite,
                PricingWrite,
            ],
            // All but the machine room, so that there is somebody an admin cannot remove.
            Self::Admin => &[
                OrdersPlace,
                OrdersRead,
                ProfileWrite,
                OrdersWrite,
                CatalogWrite,
                StockWrite,
                PricingWrite,
                AccountsWrite,
                PartnersWrite,
            ],
            Self::Owner => &Scope::ALL,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no role of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of shopper, support, merchandiser, warehouse, finance, admin and owner")]
pub struct NoSuchRole;

impl FromStr for Role {
    type Err = NoSuchRole;

    fn from_str(name: &str) -> Result<Self, NoSuchRole> {
        let mut roles = Self::ALL.into_iter();
        roles.find(|role| role.name() == name).ok_or(NoSuchRole)
    }
}

/// The scopes of all these roles, each once and in the order of [`Scope::ALL`].
pub fn scopes_of(roles: &[Role]) -> Vec<Scope> {
    let is_held = |scope: &Scope| roles.iter().any(|role| role.scopes().contains(scope));
    Scope::ALL.into_iter().filter(is_held).collect()
}

/// A user of NATS that is no person with a token: who that is the broker knows, and a worker does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum User {
    Edge,
    Audit,
    Operator,
    Worker(Service),
}

impl User {
    /// As it stands in the broker's configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Audit => "audit",
            Self::Operator => "operator",
            Self::Worker(service) => service.name(),
        }
    }
}

/// Who may ask a command or a query. A token that is sent is checked whoever may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Anyone,
    /// Anybody without a token; with one it takes this scope.
    GuestOr(Scope),
    SignedIn,
    /// An account, about itself, with a token that has this scope.
    Account(Scope),
    /// Whose it is, and staff. That is for the worker to say which has the row: for all others it is not there.
    Owner {
        /// What a token of its account needs. A guest has the thing's own secret instead.
        account: Scope,
        /// What makes a token one of staff.
        staff: Scope,
    },
    Scope(Scope),
    /// A program that is registered, which says in the request itself who it is and shows it (RFC 6749, 2.3).
    Client,
    /// Nobody else can send there: their rights at the broker follow from this, and tests try them on a real one.
    Users(&'static [User]),
}

impl Access {
    /// For who holds the operator's credentials.
    pub const OPERATOR: Self = Self::Users(&[User::Operator]);
    /// Whoever verifies access tokens.
    pub const VERIFIERS: Self = Self::Users(&[
        User::Worker(Service::Auth),
        User::Worker(Service::Catalog),
        User::Worker(Service::Orders),
        User::Worker(Service::Stock),
        User::Worker(Service::Payments),
        User::Worker(Service::Notify),
        User::Audit,
    ]);
    /// For audits: the one that runs all the time, and the operator's.
    pub const AUDITS: Self = Self::Users(&[User::Audit, User::Operator]);

    /// Whether somebody with these claims, or with no token, may ask.
    ///
    /// # Errors
    ///
    /// 401 for who did not say who they are, 403 for who may not.
    pub fn check(self, claims: Option<&Claims>) -> Result<(), Problem> {
        match (self, claims) {
            (Self::Anyone | Self::Owner { .. } | Self::Client | Self::Users(_), _)
            | (Self::GuestOr(_), None)
            | (Self::SignedIn, Some(_)) => Ok(()),
            (Self::Scope(scope) | Self::Account(scope) | Self::GuestOr(scope), Some(claims)) => {
                if claims.has_scope(scope) {
                    Ok(())
                } else {
                    Err(Problem::forbidden(scope.name()))
                }
            }
            (Self::Scope(_) | Self::Account(_) | Self::SignedIn, None) => {
                Err(Problem::unauthenticated("send an access token"))
            }
        }
    }

    /// Whether who sends no token is refused whatever else they send.
    pub const fn needs_token(self) -> bool {
        matches!(self, Self::SignedIn | Self::Account(_) | Self::Scope(_))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::GuestOr(scope) => write!(f, "guests, and accounts with `{scope}`"),
            Self::SignedIn => f.write_str("who is signed in"),
            Self::Account(scope) => write!(f, "the account itself, with `{scope}`"),
            Self::Owner { account, staff } => {
                write!(
                    f,
                    "its owner with `{account}` or its secret, and staff with `{staff}`"
                )
            }
            Self::Scope(scope) => write!(f, "`{scope}`"),
            Self::Client => f.write_str("a registered client, by its secret or signature"),
            Self::Users(users) => {
                let names: Vec<&str> = users.iter().map(|user| user.name()).collect();
                write!(f, "on NATS only: {}", names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn claims(scope: &str) -> Claims {
        Claims {
            iss: String::new(),
            sub: Uuid::nil(),
            aud: String::new(),
            exp: 0,
            nbf: 0,
            iat: 0,
            jti: Uuid::nil(),
            sid: None,
            client_id: String::new(),
            scope: scope.to_owned(),
        }
    }

    fn status(access: Access, claims: Option<&Claims>) -> u16 {
        access
            .check(claims)
            .err()
            .map_or(200, |problem| problem.status)
    }

    #[test]
    fn who_may_ask_is_decided_by_scopes_alone() {
        let (none, some) = (claims(""), claims("orders:place stock:write"));
        let owner = Access::Owner {
            account: Scope::OrdersRead,
            staff: Scope::OrdersWrite,
        };
        // Without a token, with an empty one, with one that has the scope.
        for (access, expected) in [
            (Access::Anyone, [200, 200, 200]),
            (Access::GuestOr(Scope::OrdersPlace), [200, 403, 200]),
            (Access::SignedIn, [401, 200, 200]),
            (owner, [200, 200, 200]),
            (Access::Scope(Scope::StockWrite), [401, 403, 200]),
            (Access::Account(Scope::OrdersPlace), [401, 403, 200]),
            (Access::Scope(Scope::OpsWrite), [401, 403, 403]),
            (Access::Client, [200, 200, 200]),
            (Access::AUDITS, [200, 200, 200]),
        ] {
            let found = [None, Some(&none), Some(&some)].map(|claims| status(access, claims));
            assert_eq!(found, expected, "{access}");
            assert_eq!(access.needs_token(), expected[0] == 401, "{access}");
        }
    }

    #[test]
    fn a_scope_is_held_whole_or_not_at_all() {
        for scope in [
            "stock:writer",
            "xstock:write",
            "stock",
            "stock:write,ops:write",
            "STOCK:WRITE",
        ] {
            assert!(!claims(scope).has_scope(Scope::StockWrite), "{scope}");
        }
    }

    #[test]
    fn names_are_those_on_the_wire() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
            assert_eq!(role.name().parse(), Ok(role));
            assert!(NoSuchRole.to_string().contains(role.name()));
        }
        assert_eq!("Owner".parse::<Role>(), Err(NoSuchRole));
    }

    #[test]
    fn an_owner_may_everything_and_an_admin_cannot_make_one() {
        assert_eq!(scopes_of(&[Role::Owner]), Scope::ALL);
        assert!(!Role::Admin.scopes().contains(&Scope::OpsWrite));
        assert_eq!(scopes_of(&[]), []);
        let both = scopes_of(&[Role::Merchandiser, Role::Support, Role::Support]);
        let expected = [
            Scope::OrdersPlace,
            Scope::OrdersRead,
            Scope::ProfileWrite,
            Scope::OrdersWrite,
            Scope::CatalogWrite,
            Scope::PricingWrite,
        ];
        assert_eq!(both, expected);
    }
}
