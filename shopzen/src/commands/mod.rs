//! The operator's commands, one file each.

pub mod account;
pub mod activity;
pub mod audit;
pub mod client;
pub mod dead_letters;
pub mod doctor;
pub mod down;
pub mod healthcheck;
pub mod import;
pub mod keys;
pub mod migrate;
pub mod partner;
pub mod reconcile;
pub mod run;
pub mod shop;
pub mod status;
pub mod streams;

use shopzen_chassis::{AskError, Asker, Asking, Bus};
use shopzen_contracts::{Command, Query, auth::IssueOperatorToken};

use crate::{
    cli::Options,
    config::{self, Config, Dict},
    data_dir::DataDir,
    exit::{Exit, Failure, OrFail as _},
    up::state::State,
};

/// The settings of the shop that runs in the data folder, or else those of this environment.
pub fn settings(options: &Options) -> Result<Config, Failure> {
    let data = DataDir::resolve(options.data_dir.as_deref())?;
    let below =
        State::read(&data).map_or_else(Dict::new, |state| config::of_running_shop(&data, &state));
    config::load(below, Dict::new())
}

/// A running shop, spoken to as its operator.
#[derive(Debug)]
pub struct Shop {
    asker: Asker,
}

impl Shop {
    pub async fn connect(options: &Options) -> Result<Self, Failure> {
        Self::connect_with(&settings(options)?).await
    }

    pub async fn connect_with(config: &Config) -> Result<Self, Failure> {
        let bus = Bus::connect(&config.operator_login()).await.or_fail(
            Exit::Unavailable,
            "no shop answers",
            "`shopzen up` starts one here; for one elsewhere set nats.url and operator.nats_password",
        )?;
        Ok(Self {
            asker: Asker::new(bus),
        })
    }

    pub async fn query<Q: Query>(&self, query: &Q, asking: &Asking) -> Result<Q::Reply, Failure> {
        self.asker.query(query, asking).await.map_err(unanswered)
    }

    pub async fn command<C: Command>(
        &self,
        command: &C,
        asking: &Asking,
    ) -> Result<C::Reply, Failure> {
        self.asker
            .command(command, asking)
            .await
            .map_err(unanswered)
    }

    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// To do what staff may do, in a shop that need not have an account of staff.
    pub async fn as_staff(&self) -> Result<Asking, Failure> {
        let issued = self
            .command(&IssueOperatorToken {}, &Asking::default())
            .await?;
        Ok(Asking {
            identity: Some(issued.access_token),
            ..as_operator()
        })
    }
}

/// To look after what workers have set aside, under the name that this machine knows us by.
pub fn as_operator() -> Asking {
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    Asking {
        operator: Some(user.map_or_else(|| uid.to_string(), |user| user.name)),
        ..Asking::default()
    }
}

/// Why a worker did not do what it was asked to.
pub fn unanswered(error: AskError) -> Failure {
    match error {
        AskError::Refused(problem) => {
            let fields: Vec<String> = problem
                .errors
                .iter()
                .map(|error| format!("{} {}", error.pointer, error.detail))
                .collect();
            let detail = if fields.is_empty() {
                problem.detail
            } else {
                fields.join("; ")
            };
            let next = format!("{} at the shop explains it", problem.kind);
            Failure::new(Exit::Usage, format!("refused: {detail}"), next)
        }
        error @ (AskError::Unavailable { .. }
        | AskError::Lifeless { .. }
        | AskError::TimedOut { .. }) => Failure::new(
            Exit::Unavailable,
            error.to_string(),
            "`shopzen doctor` looks at what runs",
        ),
        error @ AskError::Unreadable { .. } => Failure::new(
            Exit::Software,
            error.to_string(),
            "is this program as old as the shop it speaks to?",
        ),
    }
}
