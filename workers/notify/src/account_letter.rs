//! What a letter about an account says. Pure: from a request to text.

use shopzen_contracts::{
    Confidential, Problem,
    notify::{MailKind, SendLetter},
};

use crate::letter::{About, Letter, single_line};

/// What stands in a letter: its subject line, and the paragraphs before and after the link.
struct Text {
    subject: String,
    before: String,
    after: &'static str,
}

/// Refuses a kind that is not about an account, and one that lacks its link.
pub(crate) fn write(shop: &str, request: &SendLetter) -> Result<Letter, Problem> {
    let text = text(shop, request).ok_or_else(unwritable)?;
    let mut body = format!("Hello,\n\n{}\n\n", text.before);
    if has_link(request.kind) {
        let link = request.link.as_ref().map(Confidential::expose);
        let link = single_line(link.ok_or_else(unwritable)?);
        body.push_str(&format!("  {link}\n\n"));
    }
    body.push_str(&format!("{}\n\nKind regards\n{shop}\n", text.after));
    Ok(Letter {
        about: About::Account(request.letter_id),
        kind: request.kind,
        recipient: single_line(&request.recipient),
        subject: text.subject,
        body,
    })
}

fn unwritable() -> Problem {
    Problem::new(
        422,
        "letter_unwritable",
        "this is no letter about an account, or it lacks its link",
    )
}

const fn has_link(kind: MailKind) -> bool {
    matches!(
        kind,
        MailKind::ConfirmEmail
            | MailKind::ResetPassword
            | MailKind::ApproveNewEmail
            | MailKind::ConfirmNewEmail
    )
}

const NOT_YOU: &str = "If this was not you, you need not do anything.";
const NOT_YOU_RESET: &str = "If this was not you, set a new password now: on the sign-in page, choose \"Forgot your password?\".";

fn text(shop: &str, request: &SendLetter) -> Option<Text> {
    let named = single_line(request.subject.as_deref().unwrap_or("an app"));
    let (subject, before, after) = match request.kind {
        MailKind::ConfirmEmail => (
            format!("Confirm your e-mail address for {shop}"),
            "somebody, probably you, wants an account with this address. It is there once you have \
             followed this link within half an hour:"
                .to_owned(),
            NOT_YOU,
        ),
        MailKind::AlreadyRegistered => (
            format!("You already have an account with {shop}"),
            "somebody, probably you, wanted an account with this address. There is one already: sign in with \
             it, or choose \"Forgot your password?\" on the sign-in page."
                .to_owned(),
            NOT_YOU,
        ),
        MailKind::ResetPassword => (
            format!("Set a new password for {shop}"),
            "somebody, probably you, wants to set a new password for your account. This link leads there, for \
             half an hour:"
                .to_owned(),
            NOT_YOU,
        ),
        MailKind::PasswordChanged => (
            format!("Your password for {shop} was changed"),
            "a new password was set for your account, and you were signed out everywhere else.".to_owned(),
            NOT_YOU_RESET,
        ),
        MailKind::ApproveNewEmail => (
            format!("Another e-mail address for your account with {shop}"),
            format!(
                "your account is to have another address, {named}. It is changed once you have followed this \
                 link, and the one sent to the new address, within half an hour:"
            ),
            NOT_YOU_RESET,
        ),
        MailKind::ConfirmNewEmail => (
            format!("Confirm your new e-mail address for {shop}"),
            "an account is to have this address. It is changed once this link, and the one sent to the address \
             before, have been followed within half an hour:"
                .to_owned(),
            NOT_YOU,
        ),
        MailKind::RefreshTokenReused => (
            format!("An app was signed out of your account with {shop}"),
            format!(
                "{named} was signed out of your account, because its key to it was used from two places. That \
                 happens when somebody has copied it."
            ),
            NOT_YOU_RESET,
        ),
        MailKind::SecondFactorAdded => (
            format!("Your account with {shop} has another second factor"),
            format!("{named} was added to your account. Signing in asks for a second factor from now on."),
            NOT_YOU_RESET,
        ),
        MailKind::SecondFactorRemoved => (
            format!("A second factor of your account with {shop} was removed"),
            format!("{named} was removed from your account, and is good for nothing any more."),
            NOT_YOU_RESET,
        ),
        MailKind::OrderConfirmed | MailKind::OrderRejected | MailKind::OrderCancelled => return None,
    };
    Some(Text {
        subject,
        before,
        after,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn request(kind: MailKind) -> SendLetter {
        SendLetter {
            letter_id: Uuid::nil(),
            kind,
            recipient: "ada@example.com".to_owned(),
            link: Some(Confidential::new("https://shop.example/confirm?token=t")),
            account_id: None,
            subject: Some("new@example.com".to_owned()),
        }
    }

    #[test]
    fn a_letter_about_an_account_has_its_link_where_it_needs_one() {
        for kind in MailKind::ALL {
            let about_an_order = kind.as_str().starts_with("order_");
            let written = write("Lamps", &request(kind));
            assert_eq!(written.is_err(), about_an_order, "{kind:?}");
            let Ok(letter) = written else { continue };
            assert!(letter.subject.contains("Lamps"), "{letter:?}");
            assert_eq!(
                letter.body.contains("/confirm?token=t\n"),
                has_link(kind),
                "{letter:?}"
            );
            let without = SendLetter {
                link: None,
                ..request(kind)
            };
            assert_eq!(
                write("Lamps", &without).is_err(),
                has_link(kind),
                "{kind:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_from_outside_starts_a_line(subject: String, recipient: String) {
            let plain = write("S", &request(MailKind::ApproveNewEmail)).unwrap();
            let request = SendLetter { subject: Some(subject), recipient, ..request(MailKind::ApproveNewEmail) };
            let letter = write("S", &request).unwrap();
            prop_assert_eq!(letter.body.lines().count(), plain.body.lines().count());
            prop_assert!(!letter.recipient.contains(char::is_control));
        }
    }
}
