//! Passkeys (<https://www.w3.org/TR/webauthn-3/>): discoverable, so that nobody types an address, and with user verification,
//! so that one is two factors.
//!
//! What a browser is told to ask is kept here until it answers, once. Whom passkeys are for is the shop's public address, of
//! the configuration and never of a request.

use serde_json::{Value, json};
use shopzen_chassis::{Cx, Failure};
use shopzen_contracts::{
    Problem,
    auth::factors::{PasskeyOptions, PasskeyProof},
};
use url::{Host, Url};
use uuid::Uuid;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, DiscoverableKey, Passkey, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Webauthn, WebauthnBuilder, WebauthnError,
};

use super::LIFETIME;
use crate::{
    secrets,
    store::{self, accounts::Credentials, factors::KeptPasskey},
};

/// Passkeys of one account.
const PASSKEYS_MAX: usize = 20;

/// What is asked of browsers. None where the shop has no name that a passkey could be for.
#[derive(Debug)]
pub(crate) struct Passkeys(Option<Webauthn>);

impl Passkeys {
    /// Browsers keep passkeys for domains alone, and only where the connection is one that nobody can listen to: by HTTPS, or
    /// on the same machine (<https://www.w3.org/TR/webauthn-3/#relying-party-identifier>).
    pub(crate) fn new(public_url: &str) -> Self {
        Self(webauthn(public_url))
    }

    pub(crate) fn are_offered(&self) -> bool {
        self.0.is_some()
    }

    fn get(&self) -> Result<&Webauthn, Problem> {
        let why =
            "passkeys are for domains; this shop's public address has none, or is not encrypted";
        self.0
            .as_ref()
            .ok_or_else(|| Problem::new(409, "passkeys_unavailable", why))
    }
}

fn webauthn(public_url: &str) -> Option<Webauthn> {
    let url = Url::parse(public_url).ok()?;
    let Some(Host::Domain(domain)) = url.host() else {
        return None;
    };
    let is_secure = url.scheme() == "https" || domain == "localhost";
    let builder = WebauthnBuilder::new(domain, &url).ok()?;
    builder.build().ok().filter(|_| is_secure)
}

fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::Inconsistent(format!("what passkeys are asked cannot be made: {error}"))
}

/// Keeps what was asked, and gives the browser what it is to ask.
async fn begin(
    cx: &mut Cx,
    account_id: Option<Uuid>,
    options: Value,
    state: &Value,
) -> Result<PasskeyOptions, Failure> {
    let ceremony = secrets::new_secret()?;
    let hash = secrets::hash(ceremony.expose());
    store::factors::insert_ceremony(cx.db(), &hash, account_id, state).await?;
    Ok(PasskeyOptions { ceremony, options })
}

/// What a browser is to ask of whoever sits before it.
pub(crate) async fn ask(
    cx: &mut Cx,
    passkeys: &Passkeys,
) -> Result<Result<PasskeyOptions, Problem>, Failure> {
    let webauthn = match passkeys.get() {
        Ok(webauthn) => webauthn,
        Err(problem) => return Ok(Err(problem)),
    };
    let asked = webauthn.start_discoverable_authentication();
    let (options, state) = asked.map_err(unwritable)?;
    let mut options = serde_json::to_value(&options).map_err(unwritable)?;
    let state = serde_json::to_value(&state).map_err(unwritable)?;
    Ok(Ok(
        begin(cx, None, options["publicKey"].take(), &state).await?
    ))
}

/// What a browser is to ask an authenticator that is to have a new one.
pub(crate) async fn start(
    cx: &mut Cx,
    passkeys: &Passkeys,
    account: &Credentials,
) -> Result<Result<PasskeyOptions, Problem>, Failure> {
    let webauthn = match passkeys.get() {
        Ok(webauthn) => webauthn,
        Err(problem) => return Ok(Err(problem)),
    };
    let known = store::factors::find_credential_ids(cx.db(), account.id).await?;
    if known.len() >= PASSKEYS_MAX {
        return Ok(Err(too_many()));
    }
    let asked =
        webauthn.start_passkey_registration(account.id, &account.email, &account.name, Some(known));
    let (options, state) = asked.map_err(unwritable)?;
    let mut options = serde_json::to_value(&options).map_err(unwritable)?;
    // Otherwise it may be one that has to be asked for by name, and so signs nobody in.
    let selection = &mut options["publicKey"]["authenticatorSelection"];
    selection["residentKey"] = json!("required");
    selection["requireResidentKey"] = json!(true);
    let state = serde_json::to_value(&state).map_err(unwritable)?;
    let options = options["publicKey"].take();
    Ok(Ok(begin(cx, Some(account.id), options, &state).await?))
}

fn too_many() -> Problem {
    let why = format!("an account has {PASSKEYS_MAX} passkeys at the most; remove one first");
    Problem::new(409, "too_many_passkeys", why)
}

/// Adds what an authenticator has made. None where it is not good.
pub(crate) async fn add(
    cx: &mut Cx,
    passkeys: &Passkeys,
    account_id: Uuid,
    proof: &PasskeyProof,
    name: &str,
) -> Result<Option<Uuid>, Failure> {
    let Ok(webauthn) = passkeys.get() else {
        return Ok(None);
    };
    let hash = secrets::hash(proof.ceremony.expose());
    let taken = store::factors::take_ceremony(cx.db(), &hash, Some(account_id), LIFETIME).await?;
    let Some(state) = taken.and_then(|it| read::<PasskeyRegistration>(&it)) else {
        return Ok(None);
    };
    let Some(credential) = read::<RegisterPublicKeyCredential>(&proof.credential) else {
        return Ok(None);
    };
    let passkey = match webauthn.finish_passkey_registration(&credential, &state) {
        Ok(passkey) => passkey,
        Err(error) => {
            tracing::info!(%account_id, %error, "a new passkey was refused");
            return Ok(None);
        }
    };
    let known = store::factors::find_credential_ids(cx.db(), account_id).await?;
    let kept = KeptPasskey {
        id: cx.new_id(),
        account_id,
        credential: serde_json::to_value(&passkey).map_err(unwritable)?,
    };
    let is_added = known.len() < PASSKEYS_MAX
        && store::factors::insert_passkey(cx.db(), &kept, passkey.cred_id(), name).await?;
    Ok(is_added.then_some(kept.id))
}

/// Whose passkey was shown. None where what came is not good.
pub(crate) async fn owner_of(
    cx: &mut Cx,
    passkeys: &Passkeys,
    proof: &PasskeyProof,
) -> Result<Option<Uuid>, Failure> {
    let Ok(webauthn) = passkeys.get() else {
        return Ok(None);
    };
    let hash = secrets::hash(proof.ceremony.expose());
    let taken = store::factors::take_ceremony(cx.db(), &hash, None, LIFETIME).await?;
    let Some(state) = taken.and_then(|it| read::<DiscoverableAuthentication>(&it)) else {
        return Ok(None);
    };
    let Some(credential) = read::<PublicKeyCredential>(&proof.credential) else {
        return Ok(None);
    };
    let Ok((account_id, credential_id)) =
        webauthn.identify_discoverable_authentication(&credential)
    else {
        return Ok(None);
    };
    let found = store::factors::find_passkey(cx.db(), account_id, credential_id).await?;
    let Some(mut kept) = found else {
        return Ok(None);
    };
    let mut passkey: Passkey = serde_json::from_value(kept.credential.take()).map_err(|error| {
        Failure::Inconsistent(format!("passkey {} cannot be read: {error}", kept.id))
    })?;
    let key = DiscoverableKey::from(&passkey);
    match webauthn.finish_discoverable_authentication_v2(&credential, state, &key) {
        Ok(shown) => {
            passkey.update_credential(&shown);
            kept.credential = serde_json::to_value(&passkey).map_err(unwritable)?;
            store::factors::save_used(cx.db(), &kept).await?;
            Ok(Some(account_id))
        }
        Err(WebauthnError::CredentialPossibleCompromise) => {
            tracing::warn!(
                %account_id, passkey_id = %kept.id,
                "a passkey was refused: it has counted back, so there may be a copy of it"
            );
            Ok(None)
        }
        Err(error) => {
            tracing::info!(%account_id, %error, "a passkey was refused");
            Ok(None)
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_are_for_names_and_for_connections_that_nobody_listens_to() {
        for good in [
            "https://shop.example",
            "https://shop.example:8443",
            "http://localhost:8080",
        ] {
            assert!(Passkeys::new(good).are_offered(), "{good}");
        }
        for bad in [
            "http://127.0.0.1:8080",
            "https://127.0.0.1",
            "https://[::1]",
            "http://shop.example",
            "",
        ] {
            assert!(!Passkeys::new(bad).are_offered(), "{bad}");
        }
    }
}
