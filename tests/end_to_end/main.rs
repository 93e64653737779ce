//! The whole shop, from HTTP to the gateway's books: the real binary, broker and database.

mod accounts;
mod activity;
mod audit;
mod audit_report;
mod bench;
mod checkout;
mod crashes;
mod crowds;
mod dead_letters;
mod factors;
mod foreign;
mod hostile;
mod identity_attacks;
mod import;
mod keys;
mod live;
mod oauth;
mod openid;
mod partners;
mod people;
mod providers;
mod rights;
mod secrets;
mod staff;
mod traces;
mod webhooks;
