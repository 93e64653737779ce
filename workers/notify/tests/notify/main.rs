//! The notify worker on a real database, a real broker and a small real mail server.

mod desk;
mod fixtures;
mod kept;
mod mail_server;
mod people;
mod sent;
