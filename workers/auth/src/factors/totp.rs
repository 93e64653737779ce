//! Codes of authenticator apps (RFC 6238): six digits from HMAC-SHA-1, every thirty seconds, which is what all of them can.
//! Pure.

use shopzen_chassis::Failure;
use shopzen_contracts::{Confidential, auth::factors::TotpSecret};
use totp_rs::{Algorithm, Builder, Totp};

/// Bytes of a secret: as many as the hash has (RFC 4226, 4).
pub(super) const SECRET_BYTES: usize = 20;
const DIGITS: u8 = 6;
const STEP_S: u64 = 30;
/// Steps before and after this one whose codes are good too: clocks differ, and people type slowly (RFC 6238, 5.2).
const SKEW_STEPS: u16 = 1;

fn unusable(error: impl std::fmt::Display) -> Failure {
    Failure::Inconsistent(format!("the secret of an authenticator app: {error}"))
}

fn builder(secret: &[u8]) -> Builder {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(DIGITS)
        .with_skew(SKEW_STEPS)
        .with_step_duration(STEP_S)
        .with_secret(secret.to_vec())
}

/// The time step that a code is of, where it is one of now.
pub(super) fn step_of(
    secret: &[u8],
    code: &Confidential,
    now_s: u64,
) -> Result<Option<i64>, Failure> {
    let totp = builder(secret).build().map_err(unusable)?;
    let step = totp.check(&plain(code), now_s);
    Ok(step.and_then(|step| i64::try_from(step).ok()))
}

/// People part the digits as their app does.
fn plain(code: &Confidential) -> String {
    let spoken = code.expose().chars();
    spoken.filter(|it| !it.is_whitespace()).collect()
}

/// As an authenticator app takes it.
pub(super) fn shown(secret: &[u8], shop: &str, email: &str) -> Result<TotpSecret, Failure> {
    // A colon parts the two.
    let label = |text: &str| text.replace(':', " ");
    let totp: Totp = builder(secret)
        .with_issuer(Some(label(shop)))
        .with_account_name(label(email))
        .build()
        .map_err(unusable)?;
    Ok(TotpSecret {
        secret: Confidential::new(totp.secret().to_base32()),
        uri: Confidential::new(totp.to_url().map_err(unusable)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, with the last six of its eight digits.
    const SECRET: &[u8] = b"12345678901234567890";
    const VECTORS: [(u64, &str); 6] = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ];

    fn step(code: &str, now_s: u64) -> Option<i64> {
        step_of(SECRET, &Confidential::new(code), now_s).unwrap()
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (at, code) in VECTORS {
            assert_eq!(step(code, at), i64::try_from(at / 30).ok(), "{code}");
        }
        assert_eq!(step("279 037", 2_000_000_000), Some(66_666_666));
    }

    #[test]
    fn a_code_is_good_one_step_early_and_late_and_no_more() {
        let of = Some(66_666_666);
        for (now, expected) in [
            (1_999_999_949, None),
            (1_999_999_950, of),
            (2_000_000_000, of),
            (2_000_000_039, of),
            (2_000_000_040, None),
        ] {
            assert_eq!(step("279037", now), expected, "{now}");
        }
    }

    #[test]
    fn what_is_no_code_is_none() {
        for bad in ["", "27903", "2790370", "+79037", "27903x", "٢٧٩٠٣٧"] {
            assert_eq!(step(bad, 2_000_000_000), None, "{bad}");
        }
    }

    #[test]
    fn an_app_is_told_all_that_it_needs() {
        let shown = shown(SECRET, "shop.example", "ada@lovelace.example").unwrap();
        assert_eq!(shown.secret.expose(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(
            shown.uri.expose(),
            "otpauth://totp/shop.example:ada%40lovelace.example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=shop.example"
        );
    }
}
