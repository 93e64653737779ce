//! Recovery codes: for who has lost what shows their second factor.

use aws_lc_rs::rand;
use data_encoding::BASE32_NOPAD;
use shopzen_chassis::{Cx, Failure};
use shopzen_contracts::Confidential;
use uuid::Uuid;

use crate::{secrets, store};

/// Codes that are made at a time.
const CODES: usize = 10;
/// 80 bits, which nobody guesses: a plain hash of them tells nothing.
const CODE_BYTES: usize = 10;
/// Characters between dashes.
const GROUP: usize = 4;

/// Gives an account new codes, in the place of those it had.
pub(crate) async fn renew(cx: &mut Cx, account_id: Uuid) -> Result<Vec<Confidential>, Failure> {
    let codes: Vec<String> = (0..CODES).map(|_| new_code()).collect::<Result<_, _>>()?;
    let hashes: Vec<Vec<u8>> = codes.iter().map(|code| hash(code)).collect();
    store::factors::save_recovery_codes(cx.db(), account_id, &hashes).await?;
    Ok(codes.into_iter().map(Confidential::new).collect())
}

fn new_code() -> Result<String, Failure> {
    let mut bytes = [0; CODE_BYTES];
    rand::fill(&mut bytes)
        .map_err(|_| Failure::Inconsistent("there is no randomness".to_owned()))?;
    let text = BASE32_NOPAD.encode(&bytes).to_lowercase();
    let groups: Vec<&str> = (0..text.len())
        .step_by(GROUP)
        .map(|at| &text[at..at + GROUP])
        .collect();
    Ok(groups.join("-"))
}

/// Whatever of it is dashes, spaces or capitals says nothing.
pub(super) fn hash(code: &str) -> Vec<u8> {
    let plain = code.chars().filter(|it| it.is_ascii_alphanumeric());
    let plain: String = plain.map(|it| it.to_ascii_lowercase()).collect();
    secrets::hash(&plain).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_however_it_is_typed() {
        let code = new_code().unwrap();
        assert_eq!(code.len(), 19, "80 bits in base32, in four groups: {code}");
        assert_eq!(hash(&code), hash(&code.to_uppercase().replace('-', " ")));
        assert_ne!(hash(&code), hash(&new_code().unwrap()));
    }
}
