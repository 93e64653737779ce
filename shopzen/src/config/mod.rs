//! Settings: defaults, then `shopzen.toml`, then the environment.
//!
//! `SHOPZEN_ORDERS__DATABASE_URL` sets `database_url` in section `orders`; with `_FILE` behind it,
//! to what stands in that file. Between the defaults and the file lie the addresses and passwords
//! of a shop that `shopzen up` started on this machine. A key that nobody knows stops the start: a
//! setting with a typing error in it would be a setting that is silently not there.

#[cfg(test)]
mod example;
mod load;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use jiff::civil::Time;
use serde::{Deserialize, Serialize};
use shopzen_chassis::{NatsLogin, Secret, failpoint::FailpointsConfig, telemetry::TelemetryConfig};

use shopzen_contracts::Service;
use shopzen_sandbox_gateway::Delivery;

pub use self::load::{Dict, listening_at, load, of_running_shop};
use crate::roles::{OPERATOR, Role};

/// Every setting there is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    pub nats: NatsConfig,
    /// Of the edge: the shop for shoppers and partners.
    pub http: shopzen_edge::Config,
    pub ops: OpsConfig,
    pub telemetry: TelemetryConfig,
    pub failpoints: FailpointsConfig,
    pub limits: shopzen_edge::Limits,
    pub sandbox: SandboxConfig,
    pub postgres: PostgresConfig,
    pub auth: RoleConfig<shopzen_auth::Config>,
    pub catalog: RoleConfig<shopzen_catalog::Config>,
    pub orders: RoleConfig<shopzen_orders::Config>,
    pub stock: RoleConfig<shopzen_stock::Config>,
    pub payments: RoleConfig<shopzen_payments::Config>,
    pub notify: RoleConfig<shopzen_notify::Config>,
    pub edge: RoleConfig<NoMore>,
    pub audit: RoleConfig<AuditConfig>,
    pub operator: RoleConfig<NoMore>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NatsConfig {
    /// `nats://host:port`, several parted by commas. No user in it.
    pub url: String,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct OpsConfig {
    /// Where operators find health and metrics. Never public: nobody has to sign in there.
    pub listen: SocketAddr,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Whether the sandbox payment gateway runs on the operator's port.
    pub enabled: bool,
    /// Where it keeps its books; empty: in memory.
    pub journal: PathBuf,
    /// How well it sends webhooks: `off`, `untold` (only of what no answer tells in time), `once` (of
    /// everything), or for tests `mixed`, that is once, twice, too early,
    /// never, and beside forged ones.
    pub webhooks: Delivery,
    /// Where the edge takes them, as the gateway reaches it; empty: nowhere.
    pub webhook_url: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PostgresConfig {
    /// A superuser's, for `shopzen migrate` to make the workers' databases. Empty: they are there.
    pub admin_url: Secret,
}

/// Who a role is on NATS, and its own settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoleConfig<C> {
    pub nats_user: String,
    pub nats_password: Secret,
    #[serde(flatten)]
    pub own: C,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AuditConfig {
    /// When outboxes and inboxes are reconciled each night, in UTC.
    pub reconcile_at: Time,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            reconcile_at: Time::constant(3, 30, 0, 0),
        }
    }
}

/// Of a role without settings of its own.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct NoMore {}

/// Where the shop and the operator's port are found unless somebody says otherwise.
pub const HTTP_PORT: u16 = 8080;
pub const OPS_PORT: u16 = 9090;

impl<C: Default> RoleConfig<C> {
    fn of(user: &str) -> Self {
        Self {
            nats_user: user.to_owned(),
            nats_password: Secret::default(),
            own: C::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nats: NatsConfig {
                url: "nats://127.0.0.1:4222".to_owned(),
            },
            http: shopzen_edge::Config::default(),
            ops: OpsConfig {
                listen: (Ipv4Addr::LOCALHOST, OPS_PORT).into(),
            },
            telemetry: TelemetryConfig::default(),
            failpoints: FailpointsConfig::default(),
            limits: shopzen_edge::Limits::default(),
            sandbox: SandboxConfig {
                enabled: true,
                journal: PathBuf::new(),
                webhooks: Delivery::default(),
                webhook_url: String::new(),
            },
            postgres: PostgresConfig {
                admin_url: Secret::default(),
            },
            auth: RoleConfig::of("auth"),
            catalog: RoleConfig::of("catalog"),
            orders: RoleConfig::of("orders"),
            stock: RoleConfig::of("stock"),
            payments: RoleConfig::of("payments"),
            notify: RoleConfig::of("notify"),
            edge: RoleConfig::of("edge"),
            audit: RoleConfig::of("audit"),
            operator: RoleConfig::of(OPERATOR),
        }
    }
}

impl Config {
    /// Where each worker's database is; empty where nobody said.
    pub fn databases(&self) -> [(Service, &Secret); 6] {
        [
            (Service::Auth, &self.auth.own.database_url),
            (Service::Catalog, &self.catalog.own.database_url),
            (Service::Orders, &self.orders.own.database_url),
            (Service::Stock, &self.stock.own.database_url),
            (Service::Payments, &self.payments.own.database_url),
            (Service::Notify, &self.notify.own.database_url),
        ]
    }

    /// How a role signs in to NATS.
    pub fn login(&self, role: Role) -> NatsLogin {
        match role {
            Role::Worker(Service::Auth) => self.login_of(&self.auth),
            Role::Worker(Service::Catalog) => self.login_of(&self.catalog),
            Role::Worker(Service::Orders) => self.login_of(&self.orders),
            Role::Worker(Service::Stock) => self.login_of(&self.stock),
            Role::Worker(Service::Payments) => self.login_of(&self.payments),
            Role::Worker(Service::Notify) => self.login_of(&self.notify),
            Role::Edge => self.login_of(&self.edge),
            Role::Audit => self.login_of(&self.audit),
        }
    }

    /// The edge's settings, which stand in two sections.
    pub fn edge(&self) -> shopzen_edge::Config {
        shopzen_edge::Config {
            limits: self.limits.clone(),
            ..self.http.clone()
        }
    }

    /// How the operator's commands sign in to NATS.
    pub fn operator_login(&self) -> NatsLogin {
        self.login_of(&self.operator)
    }

    fn login_of<C>(&self, role: &RoleConfig<C>) -> NatsLogin {
        NatsLogin {
            url: self.nats.url.clone(),
            user: role.nats_user.clone(),
            password: role.nats_password.clone(),
        }
    }
}
