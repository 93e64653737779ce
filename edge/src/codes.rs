//! Every error code there is, whoever says it, in words for who meets it.

/// One `code` of a problem document.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) name: &'static str,
    pub(crate) status: u16,
    pub(crate) meaning: &'static str,
    pub(crate) remedy: &'static str,
}

const fn code(
    status: u16,
    name: &'static str,
    meaning: &'static str,
    remedy: &'static str,
) -> Code {
    Code {
        name,
        status,
        meaning,
        remedy,
    }
}

pub(crate) fn find(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name)
}

/// In the order of their statuses.
pub(crate) const CODES: &[Code] = &[
    code(
        400,
        "client_unknown",
        "The program that sent you here is not registered in this shop.",
        "Tell whoever runs it.",
    ),
    code(
        400,
        "idempotency_key_invalid",
        "The Idempotency-Key cannot be used.",
        "Send one header of 1 to 255 printable ASCII characters.",
    ),
    code(
        400,
        "idempotency_key_required",
        "This call changes something that must not happen twice, so it needs an Idempotency-Key.",
        "Send a new random key for each new request, and the same key when you repeat one.",
    ),
    code(
        400,
        "invalid_cursor",
        "The cursor is not one that this list gave out.",
        "Start again without a cursor, and take next_cursor as it is.",
    ),
    code(
        400,
        "invalid_grant",
        "What a token is asked or given back with is not good, or another client's.",
        "Start again with something of your own that has not been used.",
    ),
    code(
        400,
        "invalid_scope",
        "The client has no such scopes.",
        "Ask for fewer; the detail names those it has.",
    ),
    code(
        400,
        "malformed_body",
        "The body broke off or was not framed as HTTP/1.1 asks.",
        "Send it again, with a right Content-Length or whole chunks.",
    ),
    code(
        400,
        "malformed_form",
        "A field of the form is missing, or stands there more than once.",
        "Send each field once; the detail names it.",
    ),
    code(
        400,
        "malformed_header",
        "A header cannot be read: it is no text, or stands there more than once.",
        "Send each header once, in ASCII.",
    ),
    code(
        400,
        "malformed_json",
        "The body is not JSON, or not a JSON object.",
        "Check its syntax; the detail says where it went wrong.",
    ),
    code(
        400,
        "malformed_request",
        "This was not well-formed HTTP/1.1.",
        "Use an HTTP library.",
    ),
    code(
        400,
        "malformed_target",
        "The path or the query is not percent-encoded UTF-8.",
        "Encode names and values with your language's URL functions.",
    ),
    code(
        400,
        "provider_mixed_up",
        "An answer came from another site than the one that was asked.",
        "Start again on the page to sign in.",
    ),
    code(
        400,
        "redirect_uri_unknown",
        "The program wants you sent back to where it is not registered.",
        "Tell whoever runs it: the address has to be one of its redirect_uris, to the letter.",
    ),
    code(
        400,
        "trip_invalid",
        "A sign-in at another site was finished or given up, is older than ten minutes, or began in another browser.",
        "Start again on the page to sign in.",
    ),
    code(
        400,
        "unauthorized_client",
        "This client was not registered for this way to get a token.",
        "Use another grant, or have staff register one for it.",
    ),
    code(
        400,
        "unsupported_grant_type",
        "There is no such way to get a token here.",
        "/.well-known/oauth-authorization-server lists those there are.",
    ),
    code(
        401,
        "invalid_client",
        "The client has not shown who it is: it does not exist, was revoked, or its secret or signature is not good.",
        "Check client_id and client_secret, or the key that it signs with and its clock.",
    ),
    code(
        401,
        "session_ended",
        "The session that your browser has is over.",
        "Sign in again.",
    ),
    code(
        401,
        "unauthenticated",
        "You are not signed in, or your access token is no longer valid.",
        "Get a new access token and send it as Authorization: Bearer.",
    ),
    code(
        401,
        "webhook_unverified",
        "The webhook is not signed with the secret that the shop has for this gateway, or is not of just now.",
        "Give payments.webhook_secret and the gateway the same secret, and set both clocks.",
    ),
    code(
        403,
        "cross_site_form",
        "The form was not on a page of this shop, or not on one made for this session.",
        "Open the page again and send it from there.",
    ),
    code(
        403,
        "forbidden",
        "You are signed in, and may not do this.",
        "The detail names the scope that is needed.",
    ),
    code(
        403,
        "insufficient_scope",
        "The token does not let its client know who somebody is.",
        "Ask for the scope openid when you send them to the authorization endpoint.",
    ),
    code(
        403,
        "password_wrong",
        "The password that came along is not the account's.",
        "Check it. After several failures the next attempt has to wait.",
    ),
    code(
        403,
        "second_factor_wrong",
        "What came along shows no second factor of the account: it is another's, is too old, or was used already.",
        "Take the code that the app shows next, another recovery code, or ask the passkey anew.",
    ),
    code(
        403,
        "sign_in_again",
        "Whoever gives an account another way in has to have signed in lately.",
        "Sign in once more, and try again.",
    ),
    code(
        403,
        "step_up_required",
        "This matters, and your account has a second factor that was not shown within the last five minutes.",
        "POST /api/v1/me/step-up with a code or a passkey, and send this again.",
    ),
    code(
        404,
        "account_not_found",
        "There is no account with this address.",
        "Check the address.",
    ),
    code(
        404,
        "no_such_route",
        "Nothing is served at this path.",
        "The API is described under /docs.",
    ),
    code(
        404,
        "not_found",
        "There is no such thing, or it is not yours to see.",
        "Check the id. A guest sees an order with its Order-Token.",
    ),
    code(
        404,
        "provider_unknown",
        "Nobody signs in here with an account of that site.",
        "Choose one of those on the page to sign in.",
    ),
    code(
        405,
        "method_not_allowed",
        "The path exists, and does not take this method.",
        "The Allow header lists the methods it takes.",
    ),
    code(
        408,
        "body_too_slow",
        "The body did not arrive in time.",
        "Send it again over a better connection.",
    ),
    code(
        409,
        "already_decided",
        "The message was handled or dropped before.",
        "Nothing need be done; the letter shows who did it and why.",
    ),
    code(
        409,
        "client_exists",
        "Another client has this name.",
        "Take another name, or revoke that client first.",
    ),
    code(
        409,
        "identity_taken",
        "With that account elsewhere somebody signs in to another account here.",
        "Sign in with it, and unlink it there first.",
    ),
    code(
        409,
        "last_owner",
        "This account is the shop's last owner, and would be one no more.",
        "Make somebody else an owner first.",
    ),
    code(
        409,
        "last_way_in",
        "It is the only way to sign in to this account.",
        "Set a password first, or link another account.",
    ),
    code(
        409,
        "no_second_factor",
        "The account has no second factor that recovery codes could take the place of.",
        "Add an authenticator app or a passkey first.",
    ),
    code(
        409,
        "not_cancellable",
        "The order has come too far to be cancelled, or has ended already.",
        "Read the order; what is shipped can be returned.",
    ),
    code(
        409,
        "not_enough_on_hand",
        "The correction would leave less than what is promised to orders.",
        "Look at what is reserved and allocated, and correct by less.",
    ),
    code(
        409,
        "passkeys_unavailable",
        "Browsers keep passkeys for domains that they reach by HTTPS, and for localhost; this shop's public address is neither.",
        "Use an authenticator app, or give the shop a domain in http.public_url.",
    ),
    code(
        409,
        "price_changed",
        "The total is not the expected_total that the shopper was shown.",
        "Show current_total, and order again with it and a new Idempotency-Key.",
    ),
    code(
        409,
        "session_required",
        "The access token comes from no session that could remember the second factor.",
        "Sign in, and use a token of that session.",
    ),
    code(
        409,
        "sku_taken",
        "Another product has this SKU.",
        "Choose another SKU, or change the product that has it.",
    ),
    code(
        409,
        "too_many_addresses",
        "The address book is full.",
        "Remove an address that is not needed any more, or change one.",
    ),
    code(
        409,
        "too_many_identities",
        "The account has as many ways to sign in as it may have.",
        "Unlink one that is not used.",
    ),
    code(
        409,
        "too_many_passkeys",
        "The account has as many passkeys as it may have.",
        "Remove one first.",
    ),
    code(
        409,
        "totp_exists",
        "The account has an authenticator app already.",
        "Remove it first.",
    ),
    code(
        409,
        "waits_in_sequence",
        "The message waits behind an earlier one about the same thing, which could not be handled.",
        "Decide the earlier one; this one is handled after it.",
    ),
    code(
        412,
        "out_of_date",
        "Somebody changed it after you had read it.",
        "Read it again, apply your change to what you find, and send the new ETag.",
    ),
    code(
        413,
        "body_too_large",
        "The body is larger than 256 KiB, or than 16 KiB where it is a webhook's.",
        "Send less at once.",
    ),
    code(
        414,
        "target_too_long",
        "The path and its query are too long.",
        "Ask for less at once.",
    ),
    code(
        415,
        "unsupported_media_type",
        "The body is not plain JSON.",
        "Send Content-Type: application/json, in UTF-8 and not compressed.",
    ),
    code(
        422,
        "currencies_differ",
        "The lines of one order must have prices in one currency.",
        "Order them apart.",
    ),
    code(
        422,
        "idempotency_key_reused",
        "The Idempotency-Key was used before with another body.",
        "Use a new key for a new request.",
    ),
    code(
        422,
        "invalid_request",
        "The request was understood, and some of its fields or parameters cannot be accepted.",
        "The errors name each of them with a JSON Pointer.",
    ),
    code(
        422,
        "letter_unwritable",
        "A letter that the auth worker asked for is none, or lacks its link.",
        "This is a mistake of ours.",
    ),
    code(
        422,
        "link_invalid",
        "The link from an e-mail is not ours, is too old, or was used already.",
        "Ask for a new one.",
    ),
    code(
        422,
        "provider_refused",
        "The other site did not show who somebody is.",
        "Start again, or sign in another way.",
    ),
    code(
        422,
        "total_too_large",
        "The total of the order is larger than an amount can be.",
        "Order less at once.",
    ),
    code(
        428,
        "if_match_required",
        "It exists already, and may only be replaced by who has read it.",
        "Read it, and send its ETag as If-Match.",
    ),
    code(
        429,
        "rate_limited",
        "Too many requests came from your address.",
        "Wait as long as Retry-After says; the RateLimit header shows what is left.",
    ),
    code(
        429,
        "too_many_attempts",
        "Too many attempts to be let in, or to have a letter sent, came from this address or for this account.",
        "Wait as long as Retry-After says.",
    ),
    code(
        429,
        "too_many_streams",
        "Too many event streams are open from your address.",
        "Close those you do not need; one stream can watch many SKUs.",
    ),
    code(
        431,
        "headers_too_large",
        "The headers are larger than 32 KiB, or more than 100.",
        "Send fewer cookies and headers.",
    ),
    code(
        500,
        "internal_error",
        "This is our mistake.",
        "Tell the shop the trace id.",
    ),
    code(
        503,
        "busy",
        "Too many requests are waiting.",
        "Try again after Retry-After; nothing has happened.",
    ),
    code(
        503,
        "identity_unavailable",
        "Access tokens cannot be checked right now.",
        "Try again after Retry-After; nothing has happened.",
    ),
    code(
        503,
        "provider_unavailable",
        "The other site cannot be reached, or does not say what it should.",
        "Try again later, or sign in another way.",
    ),
    code(
        503,
        "temporarily_unavailable",
        "A part of the shop is away right now.",
        "Try again after Retry-After, with the same Idempotency-Key.",
    ),
    code(
        504,
        "answer_too_late",
        "The answer took too long. It may have happened.",
        "Where retry_safe is true send the same request again, with the same Idempotency-Key; otherwise look first.",
    ),
];

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_codes_are_in_the_order_of_their_statuses_and_each_is_there_once() {
        assert!(CODES.is_sorted_by_key(|code| (code.status, code.name)));
        for code in CODES {
            assert_eq!(
                CODES.iter().filter(|other| other.name == code.name).count(),
                1,
                "{code:?}"
            );
        }
    }

    /// Workers say their codes as text, so their source is asked.
    #[test]
    fn every_code_that_anybody_says_is_explained() {
        let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut said = Vec::new();
        for service in [
            "auth", "catalog", "chassis", "notify", "orders", "payments", "stock",
        ] {
            collect(&main.join("workers").join(service).join("src"), &mut said);
        }
        collect(&main.join("contracts/src"), &mut said);
        collect(&main.join("edge/src"), &mut said);
        assert!(said.len() > 20, "{said:?}");
        for (status, name) in said {
            let known = find(&name).is_some_and(|code| code.status == status);
            assert!(known, "{status} {name} needs a line in codes.rs");
        }
    }

    fn collect(folder: &Path, said: &mut Vec<(u16, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, said);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                said.extend(
                    fs::read_to_string(&path)
                        .unwrap()
                        .split('(')
                        .filter_map(problem),
                );
            }
        }
    }

    /// `409, "price_changed", …`: how the arguments of a new problem begin.
    fn problem(arguments: &str) -> Option<(u16, String)> {
        let (status, rest) = arguments.trim_start().split_once(',')?;
        let status = status
            .parse()
            .ok()
            .filter(|status| (400..600).contains(status))?;
        let (name, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        let is_code = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        (is_code && name != "code").then(|| (status, name.to_owned()))
    }
}
