//! Second factors: which an account has, what shows them, and what may be done with them only.

pub(crate) mod passkeys;
mod recovery;
mod totp;

use std::time::Duration;

use aws_lc_rs::rand;
use shopzen_chassis::{Caller, Cx, Failure};
use shopzen_contracts::{
    Confidential, Problem, Role, Scope,
    auth::factors::{FactorProof, TotpSecret},
    notify::MailKind,
    rights::scopes_of,
};
use url::Url;
use uuid::Uuid;

use crate::{
    Auth,
    config::StaffSecondFactor,
    letters::{self, NewLetter},
    store::{self, accounts::Credentials},
};

pub(crate) use recovery::renew as renew_recovery_codes;

/// How long a sign-in may wait for its second factor, and a browser for a passkey.
pub(crate) const LIFETIME: Duration = Duration::from_mins(5);
/// How long what needs a second factor may be done after one was shown.
const STEP_UP_LASTS: Duration = Duration::from_mins(5);
/// Codes that may be tried, and how long they are counted.
const TRIES_MAX: i32 = 5;
pub(crate) const TRIES_WINDOW: Duration = Duration::from_mins(15);

/// How somebody showed who they are, as ID tokens have it (RFC 8176, 2).
pub(crate) type Amr = &'static [&'static str];
pub(crate) const BY_PASSWORD: Amr = &["pwd"];
/// The RFC has no name for an account elsewhere.
pub(crate) const BY_PROVIDER: Amr = &[];
/// It is verified who has it.
pub(crate) const BY_PASSKEY: Amr = &["pop", "mfa"];
const BY_CODE: Amr = &["otp", "mfa"];

/// What became of a proof.
pub(crate) enum Shown {
    Good(Amr),
    Wrong,
    Blocked { retry_after_s: u32 },
}

/// Checks a proof of a second factor, and uses it up. Codes that are tried are counted.
pub(crate) async fn show(
    cx: &mut Cx,
    auth: &Auth,
    account_id: Uuid,
    proof: &FactorProof,
) -> Result<Shown, Failure> {
    let (code, is_totp) = match proof {
        FactorProof::Passkey(proof) => {
            let owner = passkeys::owner_of(cx, &auth.passkeys, proof).await?;
            return Ok(if owner == Some(account_id) {
                Shown::Good(BY_PASSKEY)
            } else {
                Shown::Wrong
            });
        }
        FactorProof::Totp { code } => (code, true),
        FactorProof::RecoveryCode { code } => (code, false),
    };
    if let Some(retry_after_s) = count_try(cx, account_id).await? {
        return Ok(Shown::Blocked { retry_after_s });
    }
    let is_good = if is_totp {
        let found = store::factors::find_totp(cx.db(), account_id).await?;
        match found.filter(|it| it.is_confirmed) {
            Some(factor) => use_code(cx, auth, account_id, &factor.sealed_secret, code).await?,
            None => false,
        }
    } else {
        let hash = recovery::hash(code.expose());
        store::factors::use_recovery_code(cx.db(), account_id, &hash).await?
    };
    if !is_good {
        return Ok(Shown::Wrong);
    }
    store::factors::forget_tries_of(cx.db(), account_id).await?;
    Ok(Shown::Good(BY_CODE))
}

/// Counts a try before it is looked at, so that of many at once no more are. Seconds to wait where there were too many.
async fn count_try(cx: &mut Cx, account_id: Uuid) -> Result<Option<u32>, Failure> {
    let (tries, seconds) = store::factors::count_try(cx.db(), account_id, TRIES_WINDOW).await?;
    let left = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let retry_after_s = u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
    Ok((tries > TRIES_MAX).then_some(retry_after_s))
}

/// What the secret of an account's authenticator app is sealed for.
fn sealed_for(account_id: Uuid) -> String {
    format!("totp {account_id}")
}

async fn use_code(
    cx: &mut Cx,
    auth: &Auth,
    account_id: Uuid,
    sealed: &[u8],
    code: &Confidential,
) -> Result<bool, Failure> {
    let secret = auth.signing.seal()?.open(&sealed_for(account_id), sealed);
    let secret = secret.ok_or_else(|| {
        Failure::Inconsistent(format!(
            "the secret of the authenticator app of {account_id} cannot be opened; was auth.key_encryption_key changed?"
        ))
    })?;
    let now_s = u64::try_from(cx.now().as_second()).unwrap_or(0);
    match totp::step_of(&secret, code, now_s)? {
        Some(step) => store::factors::save_step(cx.db(), account_id, step).await,
        None => Ok(false),
    }
}

/// Makes the secret of an authenticator app. None where the account has one already.
pub(crate) async fn add_totp(
    cx: &mut Cx,
    auth: &Auth,
    account: &Credentials,
) -> Result<Option<TotpSecret>, Failure> {
    let mut secret = [0; totp::SECRET_BYTES];
    rand::fill(&mut secret)
        .map_err(|_| Failure::Inconsistent("there is no randomness".to_owned()))?;
    let sealed = auth
        .signing
        .seal()?
        .close(&sealed_for(account.id), &secret)?;
    if !store::factors::save_totp(cx.db(), account.id, &sealed).await? {
        return Ok(None);
    }
    let url = Url::parse(&auth.issuer).ok();
    let shop = url.as_ref().and_then(Url::host_str).unwrap_or("ShopZen");
    totp::shown(&secret, shop, &account.email).map(Some)
}

/// Takes the first code of an authenticator app: from then on it counts.
pub(crate) async fn confirm_totp(
    cx: &mut Cx,
    auth: &Auth,
    account_id: Uuid,
    code: &Confidential,
) -> Result<Result<Shown, Problem>, Failure> {
    let found = store::factors::find_totp(cx.db(), account_id).await?;
    let Some(factor) = found.filter(|it| !it.is_confirmed) else {
        return Ok(Err(Problem::not_found("authenticator app to confirm")));
    };
    if let Some(retry_after_s) = count_try(cx, account_id).await? {
        return Ok(Ok(Shown::Blocked { retry_after_s }));
    }
    if !use_code(cx, auth, account_id, &factor.sealed_secret, code).await? {
        return Ok(Ok(Shown::Wrong));
    }
    store::factors::forget_tries_of(cx.db(), account_id).await?;
    Ok(Ok(Shown::Good(BY_CODE)))
}

/// Tells an owner of a new factor, and gives them recovery codes with the first.
pub(crate) async fn welcome(
    cx: &mut Cx,
    auth: &Auth,
    account: &Credentials,
    name: &str,
) -> Result<Vec<Confidential>, Failure> {
    write(cx, auth, MailKind::SecondFactorAdded, account, name).await?;
    if store::factors::has_recovery_codes(cx.db(), account.id).await? {
        return Ok(Vec::new());
    }
    recovery::renew(cx, account.id).await
}

/// Tells an owner of a factor that is gone. Without any left there is nothing that recovery codes could take the place of.
pub(crate) async fn farewell(
    cx: &mut Cx,
    auth: &Auth,
    account: &Credentials,
    name: &str,
) -> Result<(), Failure> {
    if !has_any(cx, account.id).await? {
        store::factors::save_recovery_codes(cx.db(), account.id, &[]).await?;
    }
    write(cx, auth, MailKind::SecondFactorRemoved, account, name).await
}

async fn write(
    cx: &mut Cx,
    auth: &Auth,
    kind: MailKind,
    account: &Credentials,
    name: &str,
) -> Result<(), Failure> {
    let letter = NewLetter {
        account_id: Some(account.id),
        subject: Some(name),
        ..NewLetter::new(kind, &account.email)
    };
    letters::write(cx, &letter).await?;
    tracing::info!(account_id = %account.id, kind = kind.as_str(), "an account's second factors have changed");
    letters::send_due(cx, auth).await?;
    Ok(())
}

/// Whether an account has a second factor.
pub(crate) async fn has_any(cx: &mut Cx, account_id: Uuid) -> Result<bool, Failure> {
    let methods = store::factors::find_methods(cx.db(), account_id).await?;
    Ok(!methods.is_empty())
}

/// Refuses a caller who has a second factor and has not shown it of late.
pub(crate) async fn need_step_up(
    cx: &mut Cx,
    caller: &Caller,
) -> Result<Result<(), Problem>, Failure> {
    let Some(account_id) = caller.account_id() else {
        return Ok(Ok(()));
    };
    if !has_any(cx, account_id).await? {
        return Ok(Ok(()));
    }
    let is_stepped_up = match caller.session_id() {
        Some(id) => store::factors::is_stepped_up(cx.db(), id, account_id, STEP_UP_LASTS).await?,
        None => false,
    };
    Ok(if is_stepped_up {
        Ok(())
    } else {
        let why = "this needs your second factor, shown within the last five minutes: POST /api/v1/me/step-up";
        Err(Problem::new(403, "step_up_required", why))
    })
}

/// What somebody with these roles may do: as a shopper only, where staff must have a second factor and this one has none.
pub(crate) async fn scopes_for(
    cx: &mut Cx,
    auth: &Auth,
    account_id: Uuid,
    roles: &[Role],
) -> Result<Vec<Scope>, Failure> {
    let must_have_one = auth.staff_second_factor == StaffSecondFactor::Required
        && roles.iter().any(|role| *role != Role::Shopper);
    if must_have_one && !has_any(cx, account_id).await? {
        return Ok(Role::Shopper.scopes().to_vec());
    }
    Ok(scopes_of(roles))
}
