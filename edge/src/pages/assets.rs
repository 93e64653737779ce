//! `/assets/…`: files that are part of the program.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, header::CONTENT_SECURITY_POLICY},
    response::Response,
};
use data_encoding::HEXLOWER;
use rust_embed::{Embed, EmbeddedFile};

use crate::{
    answer::{self, Cache},
    problem::Refusal,
};

#[derive(Embed)]
#[folder = "assets/"]
struct Files;

/// Drawings have styles of their own; a file that is opened by itself may do nothing else.
const CSP: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");

/// Bytes of the content's hash in a name.
const HASH_BYTES: usize = 6;

/// The address of the style sheet, with the hash of its content.
pub(crate) static STYLE_SHEET: LazyLock<String> = LazyLock::new(|| {
    let file = Files::get("shop.css").expect("the style sheet is embedded");
    format!("/assets/shop.{}.css", hash(&file))
});

/// The address of the script for passkeys, in the same way.
pub(crate) static PASSKEY_SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let file = Files::get("passkeys.js").expect("the script is embedded");
    format!("/assets/passkeys.{}.js", hash(&file))
});

pub(crate) async fn show(
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Path(path) = path.map_err(|_| Refusal::NotFound)?;
    let (file, cache) = find(&path).ok_or(Refusal::NotFound)?;
    let content_type = HeaderValue::from_str(file.metadata.mimetype());
    let content_type = content_type.map_err(|_| Refusal::Internal)?;
    let mut response = answer::file(&headers, cache, content_type, file.data);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, CSP);
    Ok(response)
}

/// A file by its name, or by its name with its hash in it: `shop.0123456789ab.css`.
fn find(path: &str) -> Option<(EmbeddedFile, Cache)> {
    if let Some(file) = Files::get(path) {
        return Some((file, Cache::Briefly));
    }
    let (rest, extension) = path.rsplit_once('.')?;
    let (stem, said) = rest.rsplit_once('.')?;
    let file = Files::get(&format!("{stem}.{extension}"))?;
    (said == hash(&file)).then_some((file, Cache::Immutable))
}

fn hash(file: &EmbeddedFile) -> String {
    HEXLOWER.encode(&file.metadata.sha256_hash()[..HASH_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_the_right_hash_is_kept_for_ever() {
        let hashed = STYLE_SHEET.strip_prefix("/assets/").unwrap();
        assert!(matches!(find(hashed), Some((_, Cache::Immutable))));
        assert!(matches!(find("shop.css"), Some((_, Cache::Briefly))));
        assert!(find("shop.000000000000.css").is_none());
        for path in [
            "",
            ".",
            "..",
            "../Cargo.toml",
            "shop",
            "/etc/passwd",
            "shop.css/",
        ] {
            assert!(find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn drawings_are_served_as_pictures() {
        for name in Files::iter().filter(|name| name.ends_with(".svg")) {
            assert_eq!(
                Files::get(&name).unwrap().metadata.mimetype(),
                "image/svg+xml",
                "{name}"
            );
        }
    }
}
