//! The calls of the API, one file a resource. Beside each handler stands what the OpenAPI document
//! says about it.

pub(crate) mod accounts;
pub(crate) mod admin_activity;
pub(crate) mod admin_audit;
pub(crate) mod admin_clients;
pub(crate) mod admin_dead_letters;
pub(crate) mod admin_partners;
pub(crate) mod admin_products;
pub(crate) mod admin_roles;
pub(crate) mod admin_stock;
pub(crate) mod catalogue;
pub(crate) mod factors;
pub(crate) mod identities;
pub(crate) mod keys;
pub(crate) mod me;
pub(crate) mod me_addresses;
pub(crate) mod me_data;
pub(crate) mod oauth;
pub(crate) mod order_events;
pub(crate) mod orders;
pub(crate) mod products;
pub(crate) mod stock;
pub(crate) mod stock_stream;
pub(crate) mod timeline;
pub(crate) mod webhooks;
