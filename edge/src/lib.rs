//! HTTP in front of NATS. The edge owns no data and decides nothing about the shop: it checks that
//! a request is well-formed HTTP, hands its body to the worker whose matter it is, and hands the
//! worker's answer back.
//!
//! What is served where stands in `routes`.

mod answer;
mod api;
mod codes;
mod form;
mod front;
mod hub;
mod limits;
mod openapi;
mod pages;
mod params;
mod problem;
mod request;
mod routes;
mod server;
mod session;
mod sse;
mod stock_feed;
mod tls;
mod wire;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use axum::http::Method;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use shopzen_chassis::{Asker, Bus, Process};
use shopzen_contracts::{
    Access,
    auth::{
        authorization::{AUTHORIZATION_PATH, USERINFO_PATH},
        clients::{INTROSPECTION_PATH, JWKS_PATH, REVOCATION_PATH, TOKEN_PATH},
    },
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use limits::Limits;
pub use tls::TlsError;

use api::{
    accounts, admin_activity, admin_audit, admin_clients, admin_dead_letters, admin_partners,
    admin_products, admin_roles, admin_stock, catalogue, factors, identities, keys, me,
    me_addresses, me_data, oauth, order_events, orders, products, stock, stock_stream, timeline,
    webhooks,
};
use hub::Hub;
use limits::Limiter;
use routes::Routes;
use session::Sessions;
use stock_feed::StockFeed;
use tls::Tls;

/// The largest request body.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Request line and headers together.
const HEADER_BYTES_MAX: usize = 32 * 1024;

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// What is served where.
fn routes() -> Routes {
    let api = for_second_factors(for_accounts(for_clients(for_shoppers(Routes::default()))));
    let api = for_those_who_let_in(for_staff_of_accounts(for_staff(api)));
    pages_of_accounts(pages(for_gateways(api)))
}

fn for_shoppers(routes: Routes) -> Routes {
    routes
        .api(GET, "/api/v1/products", products::list, products::LIST)
        .api(
            GET,
            "/api/v1/products/{id_or_slug}",
            products::get,
            products::GET,
        )
        .api(
            GET,
            "/api/v1/categories",
            catalogue::categories,
            catalogue::CATEGORIES,
        )
        .api(
            GET,
            "/api/v1/suggest",
            catalogue::suggest,
            catalogue::SUGGEST,
        )
        .api(GET, "/api/v1/stock", stock::get, stock::GET)
        .api(
            GET,
            "/api/v1/stock/stream",
            stock_stream::watch,
            stock_stream::WATCH,
        )
        .api(POST, "/api/v1/orders", orders::place, orders::PLACE)
        .api(GET, "/api/v1/orders", orders::list, orders::LIST)
        .api(GET, "/api/v1/orders/{id}", orders::get, orders::GET)
        .api(
            GET,
            "/api/v1/orders/{id}/timeline",
            timeline::get,
            timeline::GET,
        )
        .api(
            GET,
            "/api/v1/orders/{id}/events",
            order_events::watch,
            order_events::WATCH,
        )
        .api(
            POST,
            "/api/v1/orders/{id}/cancel",
            orders::cancel,
            orders::CANCEL,
        )
}

fn for_accounts(routes: Routes) -> Routes {
    routes
        .api(
            POST,
            "/api/v1/accounts",
            accounts::register,
            accounts::REGISTER,
        )
        .api(
            POST,
            "/api/v1/accounts/confirm-email",
            accounts::confirm,
            accounts::CONFIRM,
        )
        .api(
            POST,
            "/api/v1/accounts/request-password-reset",
            accounts::request_reset,
            accounts::REQUEST_RESET,
        )
        .api(
            POST,
            "/api/v1/accounts/reset-password",
            accounts::reset,
            accounts::RESET,
        )
        .api(GET, "/api/v1/me", me::get, me::GET)
        .api(PATCH, "/api/v1/me", me::change, me::CHANGE)
        .api(PUT, "/api/v1/me/password", me::password, me::PASSWORD)
        .api(PUT, "/api/v1/me/email", me::email, me::EMAIL)
        .api(
            GET,
            "/api/v1/me/identities",
            identities::list,
            identities::LIST,
        )
        .api(
            DELETE,
            "/api/v1/me/identities/{identity_id}",
            identities::unlink,
            identities::UNLINK,
        )
        .api(GET, "/api/v1/me/sessions", me::sessions, me::SESSIONS)
        .api(
            DELETE,
            "/api/v1/me/sessions/{session_id}",
            me::end_session,
            me::END_SESSION,
        )
        .api(DELETE, "/api/v1/me", me_data::erase, me_data::ERASE)
        .api(GET, "/api/v1/me/export", me_data::export, me_data::EXPORT)
        .api(
            GET,
            "/api/v1/me/addresses",
            me_addresses::list,
            me_addresses::LIST,
        )
        .api(
            POST,
            "/api/v1/me/addresses",
            me_addresses::add,
            me_addresses::ADD,
        )
        .api(
            GET,
            "/api/v1/me/addresses/{address_id}",
            me_addresses::get,
            me_addresses::GET,
        )
        .api(
            PUT,
            "/api/v1/me/addresses/{address_id}",
            me_addresses::change,
            me_addresses::CHANGE,
        )
        .api(
            DELETE,
            "/api/v1/me/addresses/{address_id}",
            me_addresses::remove,
            me_addresses::REMOVE,
        )
}

fn for_second_factors(routes: Routes) -> Routes {
    const PASSKEY: &str = "/api/v1/me/passkeys/{passkey_id}";
    routes
        .api(POST, "/api/v1/passkeys/options", factors::ask, factors::ASK)
        .api(
            GET,
            "/api/v1/me/second-factors",
            factors::list,
            factors::LIST,
        )
        .api(
            POST,
            "/api/v1/me/step-up",
            factors::step_up,
            factors::STEP_UP,
        )
        .api(
            POST,
            "/api/v1/me/totp",
            factors::add_totp,
            factors::ADD_TOTP,
        )
        .api(
            POST,
            "/api/v1/me/totp/confirm",
            factors::confirm_totp,
            factors::CONFIRM_TOTP,
        )
        .api(
            DELETE,
            "/api/v1/me/totp",
            factors::remove_totp,
            factors::REMOVE_TOTP,
        )
        .api(
            POST,
            "/api/v1/me/recovery-codes",
            factors::renew_recovery_codes,
            factors::RENEW_RECOVERY_CODES,
        )
        .api(
            POST,
            "/api/v1/me/passkeys/options",
            factors::start_passkey,
            factors::START_PASSKEY,
        )
        .api(
            POST,
            "/api/v1/me/passkeys",
            factors::add_passkey,
            factors::ADD_PASSKEY,
        )
        .api(
            PATCH,
            PASSKEY,
            factors::rename_passkey,
            factors::RENAME_PASSKEY,
        )
        .api(
            DELETE,
            PASSKEY,
            factors::remove_passkey,
            factors::REMOVE_PASSKEY,
        )
}

fn for_clients(routes: Routes) -> Routes {
    routes
        .api(GET, JWKS_PATH, keys::get, keys::GET)
        .api(
            GET,
            "/.well-known/oauth-authorization-server",
            oauth::metadata,
            oauth::METADATA,
        )
        .api(
            GET,
            "/.well-known/openid-configuration",
            oauth::metadata,
            oauth::CONFIGURATION,
        )
        .api(POST, TOKEN_PATH, oauth::token, oauth::TOKEN)
        .api(GET, USERINFO_PATH, oauth::userinfo, oauth::USERINFO)
        .api_by_form_token(
            POST,
            USERINFO_PATH,
            oauth::userinfo_posted,
            oauth::USERINFO_POSTED,
        )
        .api(POST, REVOCATION_PATH, oauth::revoke, oauth::REVOKE)
        .api(
            POST,
            INTROSPECTION_PATH,
            oauth::introspect,
            oauth::INTROSPECT,
        )
}

fn for_staff(routes: Routes) -> Routes {
    routes
        .api(
            POST,
            "/api/v1/admin/products",
            admin_products::post,
            admin_products::POST,
        )
        .api(
            PUT,
            "/api/v1/admin/products/{slug}",
            admin_products::put,
            admin_products::PUT,
        )
        .api(
            POST,
            "/api/v1/admin/stock/{sku}/adjustments",
            admin_stock::adjust,
            admin_stock::ADJUST,
        )
        .api(
            GET,
            "/api/v1/admin/stock/{sku}/movements",
            admin_stock::movements,
            admin_stock::MOVEMENTS,
        )
        .api(
            GET,
            "/api/v1/admin/audit",
            admin_audit::get,
            admin_audit::GET,
        )
        .api(
            GET,
            "/api/v1/admin/dead-letters",
            admin_dead_letters::list,
            admin_dead_letters::LIST,
        )
        .api(
            GET,
            "/api/v1/admin/dead-letters/groups",
            admin_dead_letters::groups,
            admin_dead_letters::GROUPS,
        )
        .api(
            POST,
            "/api/v1/admin/dead-letters/replay",
            admin_dead_letters::replay_many,
            admin_dead_letters::REPLAY_MANY,
        )
        .api(
            POST,
            "/api/v1/admin/dead-letters/drop",
            admin_dead_letters::drop_many,
            admin_dead_letters::DROP_MANY,
        )
        .api(
            GET,
            "/api/v1/admin/dead-letters/{letter_id}",
            admin_dead_letters::get,
            admin_dead_letters::GET,
        )
        .api(
            POST,
            "/api/v1/admin/dead-letters/{letter_id}/edit",
            admin_dead_letters::edit,
            admin_dead_letters::EDIT,
        )
        .api(
            POST,
            "/api/v1/admin/dead-letters/{letter_id}/replay",
            admin_dead_letters::replay,
            admin_dead_letters::REPLAY,
        )
        .api(
            POST,
            "/api/v1/admin/dead-letters/{letter_id}/drop",
            admin_dead_letters::drop_one,
            admin_dead_letters::DROP,
        )
}

/// Who may get tokens.
fn for_those_who_let_in(routes: Routes) -> Routes {
    routes
        .api(
            GET,
            "/api/v1/admin/clients",
            admin_clients::list,
            admin_clients::LIST,
        )
        .api(
            POST,
            "/api/v1/admin/clients",
            admin_clients::add,
            admin_clients::ADD,
        )
        .api(
            GET,
            "/api/v1/admin/clients/{client_id}",
            admin_clients::get,
            admin_clients::GET,
        )
        .api(
            POST,
            "/api/v1/admin/clients/{client_id}/secrets",
            admin_clients::rotate,
            admin_clients::ROTATE,
        )
        .api(
            PUT,
            "/api/v1/admin/clients/{client_id}/keys",
            admin_clients::set_keys,
            admin_clients::SET_KEYS,
        )
        .api(
            POST,
            "/api/v1/admin/clients/{client_id}/revoke",
            admin_clients::revoke,
            admin_clients::REVOKE,
        )
        .api(
            GET,
            "/api/v1/admin/partners",
            admin_partners::list,
            admin_partners::LIST,
        )
        .api(
            POST,
            "/api/v1/admin/partners",
            admin_partners::add,
            admin_partners::ADD,
        )
        .api(
            GET,
            "/api/v1/admin/partners/{partner_id}",
            admin_partners::get,
            admin_partners::GET,
        )
        .api(
            POST,
            "/api/v1/admin/partners/{partner_id}/credentials",
            admin_partners::rotate,
            admin_partners::ROTATE,
        )
        .api(
            POST,
            "/api/v1/admin/partners/{partner_id}/revoke",
            admin_partners::revoke,
            admin_partners::REVOKE,
        )
}

fn for_staff_of_accounts(routes: Routes) -> Routes {
    const OF_CUSTOMER: &str = "/api/v1/admin/customers/{account_id}/roles";
    routes
        .api(
            GET,
            "/api/v1/admin/roles",
            admin_roles::list,
            admin_roles::LIST,
        )
        .api(
            GET,
            "/api/v1/admin/activity",
            admin_activity::list,
            admin_activity::LIST,
        )
        .api(GET, OF_CUSTOMER, admin_roles::get, admin_roles::GET)
        .api(PUT, OF_CUSTOMER, admin_roles::put, admin_roles::PUT)
}

fn for_gateways(routes: Routes) -> Routes {
    routes.api(
        POST,
        "/webhooks/payments/{gateway}",
        webhooks::receive,
        webhooks::RECEIVE,
    )
}

fn pages(routes: Routes) -> Routes {
    routes
        .page("/", pages::home::show)
        .page("/assets/{*path}", pages::assets::show)
        .page("/api/openapi.json", pages::docs::openapi)
        .page("/docs", pages::docs::show)
        .page("/docs/{file}", pages::docs::file)
        .page("/docs/asyncapi.yaml", pages::events::asyncapi)
        .page("/docs/events", pages::events::show)
        .page("/docs/problems", pages::problems::list)
        .page("/docs/problems/{code}", pages::problems::show)
        .page("/schemas/", pages::events::schemas)
        .page("/schemas/{file}", pages::events::schema)
}

fn pages_of_accounts(routes: Routes) -> Routes {
    use pages::account::{
        addresses, authorize, data, factors, own, password, providers, sign_in, sign_up, step_up,
    };
    routes
        .page("/sign-in", sign_in::show)
        .form("/sign-in", sign_in::send)
        .form("/sign-in/second-factor", sign_in::send_factor)
        .form("/sign-in/passkey", sign_in::send_passkey)
        .form("/sign-out", sign_in::sign_out)
        .page("/sign-up", sign_up::show)
        .form("/sign-up", sign_up::send)
        .page("/confirm-email", sign_up::ask_to_confirm)
        .form("/confirm-email", sign_up::confirm)
        .page("/reset-password", password::show)
        .form("/reset-password", password::send)
        .page("/new-password", password::ask_for_new)
        .form("/new-password", password::set_new)
        .page(AUTHORIZATION_PATH, authorize::show)
        .form(AUTHORIZATION_PATH, authorize::posted)
        .form(authorize::CONSENT_PATH, authorize::answer)
        .form("/sign-in/with/{provider}", providers::set_out)
        .page("/sign-in/with/{provider}/back", providers::come_back)
        .page(providers::LINK, providers::ask_to_link)
        .form(providers::LINK, providers::link)
        .form(
            "/account/identities/{identity_id}/unlink",
            providers::unlink,
        )
        .page("/account", own::show)
        .page("/account/export", data::export)
        .page("/account/erase", data::ask)
        .form("/account/erase", data::erase)
        .page("/account/addresses", addresses::show)
        .form("/account/addresses", addresses::add)
        .page("/account/addresses/{address_id}", addresses::show_one)
        .form("/account/addresses/{address_id}", addresses::change)
        .form("/account/addresses/{address_id}/remove", addresses::remove)
        .form("/account/password", own::change_password)
        .form("/account/sessions/{session_id}/end", own::end_session)
        .page("/account/step-up", step_up::show)
        .form("/account/step-up", step_up::send)
        .page("/account/security", factors::show)
        .form("/account/security/totp", factors::add_totp)
        .form("/account/security/totp/confirm", factors::confirm_totp)
        .form("/account/security/totp/remove", factors::remove_totp)
        .form("/account/security/recovery-codes", factors::renew_codes)
        .form("/account/security/passkeys/start", factors::start_passkey)
        .form("/account/security/passkeys", factors::add_passkey)
        .form(
            "/account/security/passkeys/{passkey_id}/rename",
            factors::rename_passkey,
        )
        .form(
            "/account/security/passkeys/{passkey_id}/remove",
            factors::remove_passkey,
        )
}

/// What a route asks, and who may.
#[derive(Clone, Debug)]
pub struct RouteAccess {
    pub method: Method,
    /// With names in braces.
    pub path: &'static str,
    /// The command's or the query's subject; `<service>` stands in it for every worker.
    pub asks: String,
    pub access: Access,
}

/// Who may what over HTTP: all routes of the API, in the order of their table.
pub fn accesses() -> Vec<RouteAccess> {
    let operations = routes().operations.into_iter();
    operations
        .map(|(method, path, operation)| RouteAccess {
            method,
            path,
            asks: operation.asks.subject(),
            access: operation.access,
        })
        .collect()
}

/// How the edge is set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address that is listened on.
    pub listen: SocketAddr,
    /// How the shop is reached from outside. With `https` browsers are told to stay with it.
    pub public_url: String,
    /// A file with the certificate and those that it rests on, in PEM, and one with its key. With both the edge speaks TLS
    /// itself; a new certificate is taken up within seconds. Empty: it does not, and a proxy in front of it should.
    pub tls_certificate: PathBuf,
    pub tls_key: PathBuf,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// A section of its own in the configuration file.
    #[serde(skip)]
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: "http://127.0.0.1:8080".to_owned(),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// What every handler has at hand.
#[derive(Debug)]
struct Edge {
    asker: Asker,
    orders: Arc<Hub>,
    stock: StockFeed,
    /// `None` where everybody may ask as much as they like.
    limits: Option<Limiter>,
    trusted_proxies: Vec<IpAddr>,
    sessions: Sessions,
    is_https: bool,
    offers_passkeys: bool,
    shutdown: CancellationToken,
}

impl Edge {
    fn new(config: Config, bus: Bus, process: &Process) -> Self {
        Self {
            asker: Asker::new(bus),
            orders: Arc::default(),
            stock: StockFeed::default(),
            limits: Limiter::new(&config.limits),
            trusted_proxies: config.trusted_proxies,
            sessions: Sessions::default(),
            is_https: config.public_url.starts_with("https://"),
            offers_passkeys: pages::passkeys_work_at(&config.public_url),
            shutdown: process.shutdown.clone(),
        }
    }
}

/// Serves until shutdown, and until what had begun by then has ended.
///
/// # Errors
///
/// Where there is a certificate that cannot be used: nothing was served then.
///
/// Boxed here, so that it is compiled once and not in each program that runs an edge.
pub fn run(
    config: Config,
    listener: TcpListener,
    bus: Bus,
    process: &Process,
) -> BoxFuture<'_, Result<(), TlsError>> {
    Box::pin(serve(config, listener, bus, process))
}

async fn serve(
    config: Config,
    listener: TcpListener,
    bus: Bus,
    process: &Process,
) -> Result<(), TlsError> {
    let tls = Tls::load(&config.tls_certificate, &config.tls_key)?;
    let edge = Arc::new(Edge::new(config, bus, process));
    let asker = edge.asker.clone();
    process.health.register("edge: nats", move || {
        let connected = asker.is_connected();
        async move {
            if connected {
                Ok(())
            } else {
                Err("not connected".to_owned())
            }
        }
    });
    let listeners = TaskTracker::new();
    listeners.spawn({
        let edge = Arc::clone(&edge);
        async move { edge.orders.listen(&edge.asker, &edge.shutdown).await }
    });
    listeners.spawn({
        let edge = Arc::clone(&edge);
        async move { edge.stock.listen(&edge.asker, &edge.shutdown).await }
    });
    let router = routes().into_router(Arc::clone(&edge));
    if let Some(tls) = tls.clone() {
        let shutdown = edge.shutdown.clone();
        listeners.spawn(async move { tls.keep_fresh(&shutdown).await });
    }
    server::serve(listener, tls, router, edge.shutdown.clone()).await;
    listeners.close();
    listeners.wait().await;
    Ok(())
}
