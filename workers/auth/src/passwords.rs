//! Passwords: which are good enough, and how they are kept (Argon2id with OWASP's parameters,
//! <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>).
//!
//! Hashing one takes tens of milliseconds and 19 MiB on purpose. So it is done in few places at a time: a flood of
//! attempts makes attempts wait, and not the shop.

use std::{num::NonZero, sync::Arc, thread::available_parallelism, time::Duration};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use shopzen_chassis::Failure;
use shopzen_contracts::{Confidential, FieldError};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};
use zxcvbn::{Score, zxcvbn};

/// Characters of a password.
const LENGTH_MIN: usize = 8;
const LENGTH_MAX: usize = 128;
/// Who waits longer than this for a place is told to come back.
const WAIT_MAX: Duration = Duration::from_secs(4);
/// OWASP: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes passwords, a few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
}

impl Passwords {
    /// As many places as there are processors, but one.
    pub(crate) fn new() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self {
            places: Arc::new(Semaphore::new(processors.saturating_sub(1).max(1))),
        }
    }

    /// Hashes a password, however good it is: those of demo accounts are in the documentation.
    pub(crate) async fn hash_any(&self, password: &Confidential) -> Result<String, Failure> {
        let password = password.clone();
        self.work(move || hash(&password)).await
    }

    /// Hashes a new password. None where it is too easily guessed; `about` is what others know of its owner.
    pub(crate) async fn hash(
        &self,
        password: &Confidential,
        about: &[&str],
    ) -> Result<Option<String>, Failure> {
        let password = password.clone();
        let about: Vec<String> = about.iter().map(|it| (*it).to_owned()).collect();
        self.work(move || {
            let about: Vec<&str> = about.iter().map(String::as_str).collect();
            if zxcvbn(password.expose(), &about).score() < Score::Three {
                return Ok(None);
            }
            hash(&password).map(Some)
        })
        .await
    }

    /// Whether this is the password that was hashed. Where there is no account it takes as long.
    pub(crate) async fn verify(
        &self,
        password: &Confidential,
        hash: Option<String>,
    ) -> Result<bool, Failure> {
        let password = password.clone();
        self.work(move || {
            let is_known = hash.is_some();
            let text = hash.unwrap_or_else(|| NOBODYS.to_owned());
            let verified = hasher()?.verify_password(password.expose().as_bytes(), text.as_str());
            Ok(verified.is_ok() && is_known)
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let busy = |why: &str| Failure::Unavailable {
            what: "the password check",
            why: why.to_owned(),
        };
        let place = timeout(WAIT_MAX, Arc::clone(&self.places).acquire_owned())
            .await
            .map_err(|_| busy("too many wait for it"))?
            .map_err(|_| busy("this process is ending"))?;
        let done = spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        done.await.map_err(|error| busy(&error.to_string()))?
    }
}

/// With these parameters, of a password that nobody has.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdCE$\
    2mLhxq4YrZRYuzZ0kUZI9aAMmnHpCqFJGmTzJ5iZ0Nk";

fn hash(password: &Confidential) -> Result<String, Failure> {
    let hash = hasher()?.hash_password(password.expose().as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| unusable(&error.to_string()))
}

fn hasher() -> Result<Argon2<'static>, Failure> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| unusable(&error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn unusable(why: &str) -> Failure {
    Failure::Inconsistent(format!("a password cannot be hashed: {why}"))
}

/// Whether it has a possible length.
pub(crate) fn check_length(password: &Confidential) -> Result<(), FieldError> {
    let length = password.expose().chars().count();
    if (LENGTH_MIN..=LENGTH_MAX).contains(&length) {
        return Ok(());
    }
    let detail = format!("must have {LENGTH_MIN} to {LENGTH_MAX} characters");
    Err(FieldError::new("/password", "invalid_length", detail))
}

pub(crate) fn too_easily_guessed() -> FieldError {
    FieldError::new(
        "/password",
        "too_easily_guessed",
        "is too easily guessed; several words that have nothing to do with each other are better",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Confidential {
        Confidential::new(text)
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_no_other_is() {
        let passwords = Passwords::new();
        let good = password("correct horse battery staple");
        let hash = passwords.hash(&good, &[]).await.unwrap().unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        let again = passwords.hash(&good, &[]).await.unwrap().unwrap();
        assert_ne!(hash, again, "each has a salt of its own");
        assert!(passwords.verify(&good, Some(hash.clone())).await.unwrap());
        let other = password("correct horse battery stable");
        assert!(!passwords.verify(&other, Some(hash)).await.unwrap());
        assert!(!passwords.verify(&good, None).await.unwrap());
    }

    #[tokio::test]
    async fn what_many_have_and_what_others_know_is_refused() {
        let passwords = Passwords::new();
        let about = ["ada@lovelace.example", "Ada Lovelace"];
        for bad in [
            "password",
            "Passw0rd1",
            "12345678",
            "qwertyuiop",
            "adalovelace",
            "iloveyou",
        ] {
            let hashed = passwords.hash(&password(bad), &about).await.unwrap();
            assert_eq!(hashed, None, "{bad}");
        }
        let good = password("copper-lantern-drizzle");
        assert!(passwords.hash(&good, &about).await.unwrap().is_some());
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        check_length(&password(&"ä".repeat(8))).unwrap();
        check_length(&password(&"ä".repeat(128))).unwrap();
        check_length(&password("1234567")).unwrap_err();
        check_length(&password(&"a".repeat(129))).unwrap_err();
    }
}
