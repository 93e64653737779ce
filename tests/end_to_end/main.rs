//! The whole shop, from HTTP to the gateway's books: the real binary, broker and database.

mod audit;
mod audit_report;
mod checkout;
mod crashes;
mod crowds;
mod dead_letters;
mod foreign;
mod hostile;
mod import;
mod keys;
mod live;
mod oauth;
mod partners;
mod staff;
mod traces;
mod webhooks;
