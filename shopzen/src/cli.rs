//! What can be typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use shopzen_catalog::feed::Format;
use shopzen_chassis::{LetterState, clock};
use shopzen_contracts::{Currency, OrderId, Role as AccountRole, Service};
use uuid::Uuid;

use crate::{
    bench::BenchArgs,
    chaos::ChaosArgs,
    commands::{client::ClientAction, partner::PartnerAction},
    roles::Role,
};

/// ShopZen: a shop whose parts talk in messages. Without a command: `up`.
#[derive(Debug, Parser)]
#[command(name = "shopzen", version, about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// The folder of a shop on this machine [default: ./.shopzen, or one below /var/lib/shopzen for root]
    #[arg(long, global = true, value_name = "DIR", env = "SHOPZEN_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything on this machine; Ctrl-C stops it
    Up(UpArgs),
    /// Stop a shop that runs on this machine
    Down,
    /// Show what runs where
    Status,
    /// Look for what may keep a shop from running well
    Doctor,
    /// Run one role, several, or all in this process
    Run {
        /// auth, catalog, orders, stock, payments, notify, edge, audit; several with commas; or all
        #[arg(required = true, value_parser = Role::parse_list)]
        roles: Vec<Vec<Role>>,
        /// Write there at which port this process is asked how it is
        #[arg(long, value_name = "FILE", hide = true)]
        announce: Option<PathBuf>,
    },
    /// Make the workers' databases where they are missing, and bring their tables up to date
    Migrate,
    /// Streams as they should be
    Streams {
        #[command(subcommand)]
        action: StreamsAction,
    },
    /// Exit with 0 if the process in this container is ready
    Healthcheck,
    /// Print an access token for an account, for use in scripts
    Token { email: String },
    /// What staff did, newest first: who, to what, and why
    Activity(ActivityArgs),
    /// Accounts, and what they may
    Account {
        #[command(subcommand)]
        action: AccountAction,
    },
    /// What access tokens are signed with
    Keys {
        #[command(subcommand)]
        action: KeysAction,
    },
    /// Programs that may get access tokens (OAuth clients)
    Client {
        #[command(subcommand)]
        action: ClientAction,
    },
    /// Other firms' systems, which act for themselves over HTTP and on NATS
    Partner {
        #[command(subcommand)]
        action: PartnerAction,
    },
    /// The e-mails that were sent, or kept where there is no mail server
    Mail {
        #[command(subcommand)]
        action: MailAction,
    },
    /// Show an order and all that happened to it
    Order {
        #[arg(value_parser = order_id)]
        id: OrderId,
    },
    /// Read a product feed into the catalogue
    Import(ImportArgs),
    /// Fill the catalogue with the demo's products, or with made-up ones
    Seed(SeedArgs),
    /// Messages that were set aside because nobody could handle them: look at them, mend them, decide
    DeadLetters {
        #[command(subcommand)]
        action: DeadLettersAction,
    },
    /// Check whether what must always be true is true; exit with 1 where it is not
    Audit {
        /// Go on, and say each change
        #[arg(long)]
        watch: bool,
    },
    /// Publish again what a worker never got of the others' events
    Reconcile(ReconcileArgs),
    /// Measure a running shop
    Bench(BenchArgs),
    /// Break a shop of its own in every way there is, under load, and see whether it kept its promises
    Chaos(ChaosArgs),
}

impl Default for Command {
    fn default() -> Self {
        Self::Up(UpArgs::default())
    }
}

#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    pub file: PathBuf,
    /// shopify-csv or jsonl [default: by the file's name]
    #[arg(long)]
    pub format: Option<Format>,
    /// Of prices that name none
    #[arg(long, default_value = "EUR")]
    pub currency: Currency,
}

#[derive(Clone, Copy, Debug, Args)]
#[group(required = true)]
pub struct SeedArgs {
    /// The demo's, unless there are products already
    #[arg(long)]
    pub demo: bool,
    /// So many made-up ones; the same ones each time
    #[arg(long, value_name = "N")]
    pub products: Option<u32>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct UpArgs {
    /// Of the shop; 0 takes any free one [default: 8080, or the next free one]
    #[arg(long, value_name = "N")]
    pub http_port: Option<u16>,
    /// Of health and metrics; 0 takes any free one [default: 9090, or the next free one]
    #[arg(long, value_name = "N")]
    pub ops_port: Option<u16>,
    /// What an empty shop is filled with: demo, none, or N made-up products
    #[arg(long, default_value = "demo", value_name = "demo|none|N")]
    pub seed: Seed,
    /// A process for each role instead of one for all
    #[arg(long)]
    pub split: bool,
    /// Throw the shop's data away first
    #[arg(long)]
    pub reset: bool,
    /// Return when the shop is ready, and leave it running
    #[arg(long)]
    pub detach: bool,
    /// Where the roles find NATS, if not where it listens: `shopzen chaos` stands in between
    #[arg(long, value_name = "URL", hide = true)]
    pub nats_detour: Option<String>,
    /// Another version of this program: each role is started from one and the other in turn
    #[arg(long, value_name = "PROGRAM", hide = true, requires = "split")]
    pub beside: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct ReconcileArgs {
    /// Only say what would be published again
    #[arg(long)]
    pub dry_run: bool,
    /// Look only at what was published since then: 2026-11-22T03:00:00Z, or 36h for the last 36 hours
    /// [default: all that is kept, eight days]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Leave younger events alone; for ten minutes the broker drops what is published again
    /// [default: 15m]
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub settled_after: Option<Duration>,
}

/// What an empty shop is filled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seed {
    #[default]
    Demo,
    None,
    Products(u32),
}

impl std::str::FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "demo" => Ok(Self::Demo),
            "none" => Ok(Self::None),
            number => number
                .parse()
                .map(Self::Products)
                .map_err(|_not_a_number| "must be demo, none or a number of products".to_owned()),
        }
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Demo => f.write_str("demo"),
            Self::None => f.write_str("none"),
            Self::Products(products) => products.fmt(f),
        }
    }
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum StreamsAction {
    /// Create what is missing and change what differs
    Apply,
    /// Say what is missing or differs; exit with 78 if anything does
    Check,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum KeysAction {
    /// List them, newest first
    Ls,
    /// Make the next one: it signs ten minutes from now, when everybody knows it
    Rotate {
        /// The keys got into the wrong hands: what they signed is refused within seconds, and a new one signs at once
        #[arg(long)]
        withdraw: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub struct ActivityArgs {
    /// Of one account, or of the operator: `account:ID` or `operator:USER`
    #[arg(long)]
    pub actor: Option<String>,
    /// To one thing: "product lamp"
    #[arg(long)]
    pub thing: Option<String>,
    /// Since then: 2026-11-22T03:00:00Z, or 36h for the last 36 hours
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// At most so many, 1 to 100
    #[arg(long, default_value_t = 24)]
    pub limit: u32,
}

#[derive(Clone, Debug, Subcommand)]
pub enum AccountAction {
    /// Show an account's roles, or give it these and no others
    Roles {
        email: String,
        /// shopper, support, merchandiser, warehouse, finance, admin or owner
        roles: Vec<AccountRole>,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub enum MailAction {
    /// List them, newest first
    Ls {
        /// Of one order only
        #[arg(long, value_parser = order_id)]
        order: Option<OrderId>,
        /// At most 100
        #[arg(long, default_value_t = 24)]
        limit: u32,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub enum DeadLettersAction {
    /// Show what was set aside: by worker, reason and hour, or with --all or a filter one by one
    Ls(ListLettersArgs),
    /// Show one with its message, what waits behind it, and what was done to it
    Show { id: Uuid },
    /// Replace the message of one, in $EDITOR or from a file; the first message is kept
    Edit(EditLetterArgs),
    /// Handle some as if they came today; what waits behind them follows
    Replay(DecideLettersArgs),
    /// Give some up; what waits behind them follows
    Drop(DecideLettersArgs),
}

/// Which letters are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct LetterFilterArgs {
    /// Of one worker
    #[arg(long)]
    pub worker: Option<WorkerName>,
    /// Whose subject begins so: shop.evt.orders
    #[arg(long)]
    pub subject: Option<String>,
    /// With this somewhere in their reason
    #[arg(long)]
    pub reason: Option<String>,
    /// About one order, or whatever else is the last part of the subject
    #[arg(long, value_name = "ID")]
    pub order: Option<Uuid>,
    /// Set aside since then: 2026-11-22T03:00:00Z, or 36h for the last 36 hours
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// dead, waiting, handled or dropped
    #[arg(long)]
    pub state: Option<LetterStateName>,
}

#[derive(Clone, Debug, Args)]
pub struct ListLettersArgs {
    /// One by one, all that are not decided
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub filter: LetterFilterArgs,
    /// At most so many, 1 to 100
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub limit: u32,
    /// Those that come after this one: the next page
    #[arg(long, value_name = "ID")]
    pub after: Option<Uuid>,
}

#[derive(Clone, Debug, Args)]
pub struct EditLetterArgs {
    pub id: Uuid,
    /// Take the new message from there; - is standard input
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
    /// Kept with the letter
    #[arg(long)]
    pub why: String,
    /// Only say whether it would be accepted
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub struct DecideLettersArgs {
    /// These; or those that a filter finds
    #[arg(value_name = "ID")]
    pub ids: Vec<Uuid>,
    /// All dead ones
    #[arg(long)]
    pub all: bool,
    /// Without --state: those that are dead
    #[command(flatten)]
    pub filter: LetterFilterArgs,
    /// Kept with the letters
    #[arg(long)]
    pub why: String,
    /// Only say what would happen
    #[arg(long)]
    pub dry_run: bool,
    /// So many a second
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rate: u32,
}

/// What has become of a letter, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LetterStateName {
    Dead,
    Waiting,
    Handled,
    Dropped,
}

impl From<LetterStateName> for LetterState {
    fn from(name: LetterStateName) -> Self {
        match name {
            LetterStateName::Dead => Self::Dead,
            LetterStateName::Waiting => Self::Waiting,
            LetterStateName::Handled => Self::Handled,
            LetterStateName::Dropped => Self::Dropped,
        }
    }
}

/// A worker, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorkerName {
    Auth,
    Catalog,
    Orders,
    Stock,
    Payments,
    Notify,
}

impl From<WorkerName> for Service {
    fn from(name: WorkerName) -> Self {
        match name {
            WorkerName::Auth => Self::Auth,
            WorkerName::Catalog => Self::Catalog,
            WorkerName::Orders => Self::Orders,
            WorkerName::Stock => Self::Stock,
            WorkerName::Payments => Self::Payments,
            WorkerName::Notify => Self::Notify,
        }
    }
}

/// A moment, or how long ago it was.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = length(text) {
        return clock::now()
            .checked_sub(ago)
            .map_err(|_| "is too long ago".to_owned());
    }
    text.parse()
        .map_err(|_| "must be like 2026-11-22T03:00:00Z, or like 36h".to_owned())
}

fn length(text: &str) -> Result<Duration, String> {
    let length: SignedDuration = text
        .parse()
        .map_err(|_| "must be like 15m or 36h".to_owned())?;
    Duration::try_from(length).map_err(|_| "must not be negative".to_owned())
}

fn order_id(text: &str) -> Result<OrderId, uuid::Error> {
    text.parse().map(OrderId)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let at = moment("2026-11-22T03:00:00Z").unwrap();
        assert_eq!(at.to_string(), "2026-11-22T03:00:00Z");
        let ago = clock::now().duration_since(moment("36h").unwrap());
        assert!((35..=36).contains(&ago.as_hours()));
        assert!(moment("yesterday").unwrap_err().contains("like 36h"));
        assert!(length("-1m").is_err());
    }

    #[test]
    fn an_empty_command_line_is_up() {
        assert!(Cli::parse_from(["shopzen"]).command.is_none());
        let cli = Cli::parse_from(["shopzen", "up", "--seed", "250", "--json"]);
        let Some(Command::Up(args)) = cli.command else {
            panic!("not up")
        };
        assert_eq!(args.seed, Seed::Products(250));
        assert!(cli.options.json);
    }
}
