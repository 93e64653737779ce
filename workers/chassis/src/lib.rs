//! How a worker runs. No word of the shop stands here.
//!
//! A worker says what arrives where ([`Worker`]); the chassis pulls messages from JetStream, enters
//! them in the inbox, opens a transaction, calls handlers with many messages at once, writes what
//! they publish into the outbox, commits, publishes, acknowledges, and decides what becomes of a
//! failure. The edge and the operator's commands ask workers with an [`Asker`].
//!
//! Architecture invariant: only this crate knows `async-nats`, and only [`Cx::publish`] makes events.

mod activity;
mod answer;
mod ask;
mod builder;
mod builtin;
mod bus;
mod consume;
mod database;
mod dead_letters;
mod door;
mod engine;
mod failure;
mod gate;
mod gather;
mod handle;
mod history;
mod idempotency;
mod identity;
mod inbox;
mod message;
mod outbox;
mod partner;
mod passage;
mod process;
mod progress;
mod queue;
mod reconcile;
mod respond;
mod retention;
mod routes;
mod seal;
mod secret;
mod sweep;
mod tail_guard;
mod worker;

pub mod clock;
pub mod failpoint;
pub mod harness;
pub mod ops;
pub mod streams;
pub mod tamper;
pub mod telemetry;
pub mod trace;

pub use activity::{ACTIVITY_MAX, Act, Activity, ListActivity, find_activity_about};
pub use ask::{Answered, AskError, Asker, Asking, ping_of};
pub use builder::WorkerBuilder;
pub use builtin::{Builtin, By};
pub use bus::{Bus, ConnectError, NatsLogin, inbox_prefix};
pub use database::{DatabaseConfig, Horizon, migrate, read_whole_tables};
pub use dead_letters::{
    DeadLetter, DecideLetter, Decided, GroupLetters, LETTERS_MAX, LetterAct, LetterAction,
    LetterFilter, LetterGroup, LetterState, ListLetters, WholeLetter,
};
pub use door::{Admission, Connection, Door, DoorKeys, Knock, PublicDoorKeys};
pub use engine::StopAt;
pub use failure::{Failure, Refused};
pub use handle::{Answers, Caller, Cause, Cx, Received, Request};
pub use passage::{
    EVENTS_MAX, Handled, Published, PublishedEvent, STREAM_MESSAGES_MAX, Stray, Strays,
};
pub use process::{Health, Process};
pub use queue::{Queue, queue};
pub use reconcile::{Missed, Republished};
pub use respond::respond;
pub use routes::Kinds;
pub use seal::{SEAL_KEY_BYTES, Seal};
pub use secret::Secret;
pub use worker::{Description, StartError, Worker};

/// `timestamptz` columns: bind with `.to_sqlx()`, read as [`jiff_sqlx::Timestamp`].
pub use jiff_sqlx;
