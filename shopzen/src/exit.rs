//! How a command ends: an exit code of sysexits(3), what happened, and what to do next.

use std::{error::Error, fmt};

use serde_json::json;

/// The codes of sysexits(3) that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok,
    /// Everything was looked at, and something is broken. Not of sysexits(3).
    Broken,
    /// The command was not understood, or its input is wrong.
    Usage,
    /// A server or a program that is needed is not there.
    Unavailable,
    /// A bug, or something nobody thought of.
    Software,
    /// It may work later: a port is taken, a shop is already running.
    TryAgain,
    /// Something about the set-up is wrong.
    Config,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Broken => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::TryAgain => 75,
            Self::Config => 78,
        }
    }
}

/// Why a command could not do what it was asked to.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    what: String,
    next: String,
}

impl Failure {
    /// `what` was tried and how it failed; `next` is what the reader can do about it.
    pub fn new(exit: Exit, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            next: next.into(),
        }
    }

    pub fn what(&self) -> &str {
        &self.what
    }

    pub fn next(&self) -> &str {
        &self.next
    }

    pub fn json(&self) -> serde_json::Value {
        json!({ "error": { "code": self.exit.code(), "what": self.what, "next": self.next } })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n  next: {}",
            self.what,
            self.next.replace('\n', "\n        ")
        )
    }
}

impl Error for Failure {}

/// Turns any error into a [`Failure`], with all its causes in the text.
pub trait OrFail<T> {
    fn or_fail(
        self,
        exit: Exit,
        what: impl fmt::Display,
        next: impl Into<String>,
    ) -> Result<T, Failure>;
}

impl<T, E: Error> OrFail<T> for Result<T, E> {
    fn or_fail(
        self,
        exit: Exit,
        what: impl fmt::Display,
        next: impl Into<String>,
    ) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(exit, format!("{what}: {}", with_causes(&error)), next))
    }
}

/// An error and its causes on one line; a cause that its error already repeats is said once.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
