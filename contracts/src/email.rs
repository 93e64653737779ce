//! E-mail addresses, as far as they can be judged without sending anything.

/// The longest address, in bytes (RFC 5321, 4.5.3.1.3).
const EMAIL_LENGTH_MAX: usize = 254;

/// One `@` with something on both sides and nothing that could end a header line. Whether mail
/// arrives there only a mail can tell.
pub fn is_email(text: &str) -> bool {
    let fits = text.len() <= EMAIL_LENGTH_MAX;
    let plain = text
        .chars()
        .all(|c| !c.is_control() && !c.is_whitespace() && !"<>,;:\"()[]\\".contains(c));
    let parts: Vec<&str> = text.split('@').collect();
    fits && plain
        && matches!(parts[..], [local, domain] if !local.is_empty() && domain.contains('.')
        && domain.split('.').all(|label| !label.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_address_cannot_carry_a_header() {
        for good in ["ada@example.com", "a.b+c@x.co.uk", "ä@exämple.de"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "",
            "ada",
            "@x.y",
            "a@",
            "a@b",
            "a@b.",
            "a b@c.de",
            "a@b.de\r\nBcc: x@y.z",
            "a@b@c.de",
            "<a@b.de>",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
