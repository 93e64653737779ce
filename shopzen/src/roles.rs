//! The roles a process can have: the six workers, the edge, and the audit.

use std::fmt;

use shopzen_chassis::Description;
use shopzen_contracts::Service;

/// Part of the shop that can run in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Worker(Service),
    Edge,
    /// Looks all the time whether what must be true is true.
    Audit,
}

impl Role {
    /// The order in which they are started.
    pub fn all() -> Vec<Self> {
        Service::ALL
            .into_iter()
            .map(Self::Worker)
            .chain([Self::Edge, Self::Audit])
            .collect()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Worker(service) => service.name(),
            Self::Edge => "edge",
            Self::Audit => "audit",
        }
    }

    /// `orders,stock` or `all`.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        if text == "all" {
            return Ok(Self::all());
        }
        text.split(',').map(Self::parse).collect()
    }

    fn parse(name: &str) -> Result<Self, String> {
        Self::all()
            .into_iter()
            .find(|role| role.name() == name.trim())
            .ok_or_else(|| {
                let known: Vec<&str> = Self::all().into_iter().map(Self::name).collect();
                format!(
                    "there is no role '{name}'; there are {} and all",
                    known.join(", ")
                )
            })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What each worker says it listens to.
pub fn descriptions() -> [Description; 6] {
    [
        shopzen_auth::worker(shopzen_auth::Config::default()).describe(),
        shopzen_catalog::worker(shopzen_catalog::Config::default()).describe(),
        shopzen_orders::worker(shopzen_orders::Config::default()).describe(),
        shopzen_stock::worker(&shopzen_stock::Config::default()).describe(),
        shopzen_payments::worker(&shopzen_payments::Config::default()).describe(),
        shopzen_notify::worker(shopzen_notify::Config::default()).describe(),
    ]
}

/// The users of account SHOP in `nats/server.conf`: one for each role, and one for commands.
pub const NATS_USERS: [&str; 9] = [
    "auth", "catalog", "orders", "stock", "payments", "notify", "edge", "audit", OPERATOR,
];

/// Who the operator's commands are.
pub const OPERATOR: &str = "operator";

/// The file in `secrets/` with a NATS user's password.
pub fn nats_secret(user: &str) -> String {
    format!("nats-{user}")
}

/// The file in `secrets/` with the password of a worker's database role.
pub fn database_secret(service: Service) -> String {
    format!("postgres-{}", service.name())
}

/// The file in `secrets/` with what the sandbox gateway signs its webhooks with.
pub const WEBHOOK_SECRET: &str = "webhooks-sandbox";

/// The file in `secrets/` with what the auth worker seals its keys with.
pub const KEY_ENCRYPTION_SECRET: &str = "auth-key-encryption";

/// The file in `secrets/` with what the orders worker seals people's keys with.
pub const PERSON_KEYS_SECRET: &str = "orders-key-encryption";

/// The file in `secrets/` with what the auth worker signs what it tells NATS about partners with.
pub const DOOR_SECRET: &str = "auth-door";

/// As Standard Webhooks has it. The secret is of letters and digits, which are Base64 as they are, and as
/// long as the 24 bytes that a key must have.
pub fn webhook_secret(secret: &str) -> String {
    format!("whsec_{secret}")
}

/// The name of a worker's database, and of the role that owns it.
pub fn database_name(service: Service) -> String {
    format!("shopzen_{}", service.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDir;

    #[test]
    fn every_role_has_a_nats_user() {
        for role in Role::all() {
            assert!(NATS_USERS.contains(&role.name()), "{role}");
        }
    }

    #[tokio::test]
    async fn what_a_data_folder_makes_is_a_secret_for_webhooks() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::resolve(Some(folder.path())).unwrap();
        let (data, _lock) = data.open().await.unwrap();
        let secret = webhook_secret(&data.secret(WEBHOOK_SECRET).unwrap());
        secret.parse::<shopzen_payments::WebhookSecret>().unwrap();
        secret
            .parse::<shopzen_sandbox_gateway::WebhookSecret>()
            .unwrap();
    }

    #[test]
    fn roles_are_named_one_by_one_or_all_at_once() {
        assert_eq!(Role::parse_list("all").unwrap().len(), 8);
        assert_eq!(
            Role::parse_list("orders, edge").unwrap(),
            [Role::Worker(Service::Orders), Role::Edge]
        );
        assert!(
            Role::parse_list("orders,shipping")
                .unwrap_err()
                .contains("shipping")
        );
    }
}
