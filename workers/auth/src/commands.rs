//! What others ask to be done.

pub(crate) mod accounts;
pub(crate) mod addresses;
pub(crate) mod authorize;
pub(crate) mod erasure;
pub(crate) mod factors;
pub(crate) mod identities;
pub(crate) mod sessions;
pub(crate) mod tokens;

use shopzen_contracts::FieldError;

/// Characters of a person's name.
const NAME_LENGTH_MAX: usize = 100;
/// The longest address, in bytes (RFC 5321, 4.5.3.1.3).
const EMAIL_LENGTH_MAX: usize = 254;

/// An address as accounts have it. None where no account can have it.
pub(crate) fn normalised(email: &str) -> Option<String> {
    let email = email.trim().to_lowercase();
    let is_possible = (1..=EMAIL_LENGTH_MAX).contains(&email.len())
        // PostgreSQL takes no NUL.
        && !email.contains(char::is_control);
    is_possible.then_some(email)
}

/// An address that a letter can be sent to, as accounts have it.
fn check_email(email: &str) -> Result<String, FieldError> {
    normalised(email)
        .filter(|email| shopzen_contracts::is_email(email))
        .ok_or_else(|| FieldError::new("/email", "invalid", "must be an e-mail address"))
}

fn check_name(name: &str) -> Result<String, FieldError> {
    let name = name.trim();
    let fits = (1..=NAME_LENGTH_MAX).contains(&name.chars().count());
    if fits && !name.contains(char::is_control) {
        return Ok(name.to_owned());
    }
    let detail = format!("must have 1 to {NAME_LENGTH_MAX} characters on one line");
    Err(FieldError::new("/name", "invalid", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_in_any_case() {
        assert_eq!(
            normalised(" Staff@Demo.Test ").as_deref(),
            Some("staff@demo.test")
        );
        for impossible in ["", "  ", "a\0@b.test", &"a".repeat(255)] {
            assert_eq!(normalised(impossible), None, "{impossible:?}");
        }
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(check_name(" Ada ").unwrap(), "Ada");
        for bad in ["", " ", "a\nb", "a\0", &"a".repeat(101)] {
            assert_eq!(check_name(bad).unwrap_err().pointer, "/name", "{bad:?}");
        }
    }
}
