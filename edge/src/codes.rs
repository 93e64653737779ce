//! Every error code there is, whoever says it, in words for who meets it.

/// One `code` of a problem document.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) code: &'static str,
    pub(crate) status: u16,
    pub(crate) meaning: &'static str,
    pub(crate) remedy: &'static str,
}

const fn code(
    status: u16,
    code: &'static str,
    meaning: &'static str,
    remedy: &'static str,
) -> Code {
    Code { code, status, meaning, remedy }
}

pub(crate) fn find(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.code == name)
}

/// In the order of their statuses.
pub(crate) const CODES: &[Code] = &[
    code(400, "idempotency_key_invalid", "The Idempotency-Key cannot be used.", "Send one header of 1 to 255 printable ASCII characters."),
    code(400, "idempotency_key_required", "This call changes something that must not happen twice, so it needs an Idempotency-Key.", "Send a new random key for each new request, and the same key when you repeat one."),
    code(400, "malformed_body", "The body broke off or was not framed as HTTP/1.1 asks.", "Send it again, with a right Content-Length or whole chunks."),
    code(400, "malformed_header", "A header cannot be read: it is no text, or stands there more than once.", "Send each header once, in ASCII."),
    code(400, "malformed_json", "The body is not JSON, or not a JSON object.", "Check its syntax; the detail says where it went wrong."),
    code(400, "malformed_request", "This was not well-formed HTTP/1.1.", "Use an HTTP library."),
    code(400, "malformed_target", "The path or the query is not percent-encoded UTF-8.", "Encode names and values with your language's URL functions."),
    code(401, "unauthenticated", "You are not signed in, or your access token is no longer valid.", "Get a new access token and send it as Authorization: Bearer."),
    code(403, "forbidden", "You are signed in, and may not do this.", "The detail names the scope that is needed."),
    code(404, "no_such_route", "Nothing is served at this path.", "The API is described under /docs."),
    code(404, "not_found", "There is no such thing, or it is not yours to see.", "Check the id. A guest sees an order with its Order-Token."),
    code(405, "method_not_allowed", "The path exists, and does not take this method.", "The Allow header lists the methods it takes."),
    code(408, "body_too_slow", "The body did not arrive in time.", "Send it again over a better connection."),
    code(412, "precondition_failed", "Somebody changed it after you had read it.", "Read it again, apply your change to what you find, and send the new ETag."),
    code(413, "body_too_large", "The body is larger than 256 KiB.", "Send less at once."),
    code(414, "target_too_long", "The path and its query are too long.", "Ask for less at once."),
    code(415, "unsupported_media_type", "The body is not plain JSON.", "Send Content-Type: application/json, in UTF-8 and not compressed."),
    code(422, "idempotency_key_reused", "The Idempotency-Key was used before with another body.", "Use a new key for a new request."),
    code(422, "invalid_request", "The request was understood, and some of its fields or parameters cannot be accepted.", "The errors name each of them with a JSON Pointer."),
    code(428, "if_match_required", "It exists already, and may only be replaced by who has read it.", "Read it, and send its ETag as If-Match."),
    code(429, "rate_limited", "Too many requests came from your address.", "Wait as long as Retry-After says; the RateLimit header shows what is left."),
    code(429, "too_many_streams", "Too many event streams are open from your address.", "Close those you do not need; one stream can watch many SKUs."),
    code(431, "headers_too_large", "The headers are larger than 32 KiB, or more than 100.", "Send fewer cookies and headers."),
    code(500, "internal_error", "This is our mistake.", "Tell the shop the trace id."),
    code(503, "busy", "Too many requests are waiting.", "Try again after Retry-After; nothing has happened."),
    code(503, "identity_unavailable", "Access tokens cannot be checked right now.", "Try again after Retry-After; nothing has happened."),
    code(503, "temporarily_unavailable", "A part of the shop is away right now.", "Try again after Retry-After, with the same Idempotency-Key."),
    code(504, "answer_too_late", "The answer took too long. It may have happened.", "Where retry_safe is true send the same request again, with the same Idempotency-Key; otherwise look first."),
];
