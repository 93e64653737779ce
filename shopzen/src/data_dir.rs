//! The folder that holds all of a shop that runs on this machine.
//!
//! ```text
//! pg/                     PostgreSQL's files, owned by the user it runs as
//! nats/                   the streams
//! logs/                   shopzen.log, nats.log, postgres.log
//! tools/                  the servers, where they had to be installed
//! run/                    lock, state.json, NATS' configuration, PostgreSQL's socket
//! secrets/                passwords, readable by the owner only
//! seeded.json             what the shop was filled with when it was new
//! sandbox-gateway.jsonl   the books of the sandbox payment gateway
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::unistd::geteuid;
use rand::distr::{Alphanumeric, SampleString as _};
use sha2::{Digest as _, Sha256};

use crate::{
    exit::{Exit, Failure, OrFail as _},
    up::process::Patience,
};

/// Whoever asks whether a shop runs holds the lock for an instant.
const LOCK_PATIENCE: Duration = Duration::from_millis(250);
/// Of a generated password: 190 bits.
const PASSWORD_LENGTH: usize = 32;
/// Hexadecimal digits that tell one working directory from another.
const HASH_LENGTH: usize = 12;

/// The data folder; it need not exist yet.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// `chosen` if given; else `./.shopzen`, or for root a folder that PostgreSQL's user can reach.
    pub fn resolve(chosen: Option<&Path>) -> Result<Self, Failure> {
        let here = std::env::current_dir().or_fail(
            Exit::Config,
            "the working directory cannot be read",
            "change to a folder that exists",
        )?;
        let root = match chosen {
            Some(path) => here.join(path),
            None if geteuid().is_root() => {
                Path::new("/var/lib/shopzen").join(short_hash(here.as_os_str().as_encoded_bytes()))
            }
            None => here.join(".shopzen"),
        };
        // Where it exists, its one true name: processes are recognised by it.
        Ok(Self {
            root: root.canonicalize().unwrap_or(root),
        })
    }

    /// Creates the folder and its rooms, and takes the lock that keeps a second shop out.
    pub async fn open(self) -> Result<(Self, Lock), Failure> {
        let next = "choose another folder: --data-dir DIR";
        let fail = format!("the data folder {} cannot be used", self.root.display());
        fs::create_dir_all(&self.root).or_fail(Exit::Config, &fail, next)?;
        let this = Self {
            root: self
                .root
                .canonicalize()
                .or_fail(Exit::Config, &fail, next)?,
        };
        this.make_rooms().or_fail(Exit::Config, &fail, next)?;
        let lock = this.lock().or_fail(Exit::Config, &fail, next)?;
        let mut patience = Patience::of(LOCK_PATIENCE);
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok((this, Lock { _file: lock })),
                Err(TryLockError::WouldBlock) if patience.lasts().await => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Failure::new(
                        Exit::TryAgain,
                        format!("a shop is already running in {}", this.root.display()),
                        "`shopzen status` shows it, `shopzen down` stops it",
                    ));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).or_fail(Exit::Config, &fail, next);
                }
            }
        }
    }

    fn make_rooms(&self) -> io::Result<()> {
        // PostgreSQL's user passes through, and sees nothing on its way.
        for passage in [self.root.clone(), self.run()] {
            fs::create_dir_all(&passage)?;
            fs::set_permissions(&passage, Permissions::from_mode(0o711))?;
        }
        for room in [self.nats(), self.logs(), self.secrets()] {
            if !room.exists() {
                DirBuilder::new().mode(0o700).create(room)?;
            }
        }
        Ok(())
    }

    /// Whether a shop holds the lock right now.
    pub fn is_running(&self) -> bool {
        self.run().join("lock").exists()
            && self
                .lock()
                .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    fn lock(&self) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.run().join("lock"))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn pg(&self) -> PathBuf {
        self.root.join("pg")
    }

    pub fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// What the shop was filled with when it was new.
    pub fn seeded(&self) -> PathBuf {
        self.root.join("seeded.json")
    }

    pub fn sandbox_journal(&self) -> PathBuf {
        self.root.join("sandbox-gateway.jsonl")
    }

    /// Empties the shop; installed tools stay.
    pub fn reset(&self, _held: &Lock) -> Result<(), Failure> {
        // Not the logs: somebody may want to know why, and one of them may be open for us.
        for room in [self.pg(), self.nats(), self.secrets()] {
            remove_all(&room)?;
        }
        for entry in [
            self.sandbox_journal(),
            self.seeded(),
            self.run().join("state.json"),
        ] {
            match fs::remove_file(&entry) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).or_fail(
                        Exit::Config,
                        format!("{} cannot be removed", entry.display()),
                        "remove it by hand",
                    );
                }
                _ => {}
            }
        }
        self.make_rooms().or_fail(
            Exit::Config,
            format!("{} cannot be set up again", self.root.display()),
            "check who owns it",
        )
    }

    /// A secret that was made before.
    pub fn find_secret(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.secrets().join(name))
            .ok()
            .map(|text| text.trim_end().to_owned())
    }

    /// A secret, made at random the first time.
    pub fn secret(&self, name: &str) -> Result<String, Failure> {
        if let Some(secret) = self.find_secret(name).filter(|secret| !secret.is_empty()) {
            return Ok(secret);
        }
        let secret = random_password();
        let path = self.secrets().join(name);
        write_private(&path, &secret).or_fail(
            Exit::Config,
            format!("the secret {} cannot be written", path.display()),
            "check who owns the data folder",
        )?;
        Ok(secret)
    }
}

/// Held for as long as a shop runs in its data folder. The system lets go of it when we die.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The first digits of a SHA-256.
pub fn short_hash(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex.truncate(HASH_LENGTH);
    hex
}

/// Letters and digits, a letter first: safe in a URL, in SQL and in NATS' configuration.
fn random_password() -> String {
    let mut rng = rand::rng();
    loop {
        let password = Alphanumeric.sample_string(&mut rng, PASSWORD_LENGTH);
        if password.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return password;
        }
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, path)
}

fn remove_all(path: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).or_fail(
            Exit::Config,
            format!("{} cannot be removed", path.display()),
            "remove it by hand",
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_shop_is_kept_out_of_the_same_folder() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::resolve(Some(&folder.path().join("a b"))).unwrap();
        assert!(!data.is_running());
        let (data, lock) = data.open().await.unwrap();
        assert!(data.is_running());
        assert_eq!(data.clone().open().await.unwrap_err().exit, Exit::TryAgain);
        drop(lock);
        assert!(!data.is_running());
    }

    #[tokio::test]
    async fn a_secret_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let (data, _lock) = DataDir::resolve(Some(folder.path()))
            .unwrap()
            .open()
            .await
            .unwrap();
        let secret = data.secret("nats-orders").unwrap();
        assert_eq!(data.secret("nats-orders").unwrap(), secret);
        assert_ne!(data.secret("nats-stock").unwrap(), secret);
        let path = data.secrets().join("nats-orders");
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_password_needs_no_quotes_anywhere() {
        for _ in 0..1_000 {
            let password = random_password();
            assert!(password.starts_with(|first: char| first.is_ascii_alphabetic()));
            assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }
}
