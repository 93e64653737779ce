//! Second factors: added, shown and removed.

use shopzen_chassis::{Answers, Caller, Cx, Failure, Request};
use shopzen_contracts::{
    Problem,
    auth::{
        accounts::{Done, PasswordOutcome, SignInOutcome},
        factors::{
            AddPasskey, AddTotp, AskForPasskey, ConfirmTotp, FactorAdded, FactorOutcome,
            FinishSignIn, Passkey, PasskeyOptions, PasskeyProof, PasskeyStarted, RecoveryCodes,
            RemovePasskey, RemoveTotp, RenamePasskey, RenewRecoveryCodes, SignInByPasskey,
            StartPasskey, StepUp, TotpAdded,
        },
    },
};

use super::{
    accounts::{account_of, own},
    check_name,
    sessions::{Begun, begin_session},
};
use crate::{
    Auth,
    factors::{self, BY_PASSKEY, Shown, need_step_up, passkeys},
    secrets,
    store::{
        self,
        accounts::{Credentials, Whose},
    },
};

/// What an owner reads of their authenticator app.
const TOTP_NAME: &str = "An authenticator app";

fn passkey_name(name: &str) -> String {
    format!("The passkey \"{name}\"")
}

/// The caller's account, whose factors nobody else changes meanwhile.
async fn locked(
    cx: &mut Cx,
    auth: &Auth,
    caller: &Caller,
) -> Result<Result<Credentials, Problem>, Failure> {
    let id = match account_of(caller) {
        Ok(id) => id,
        Err(problem) => return Ok(Err(problem)),
    };
    store::factors::lock(cx.db(), id).await?;
    let account =
        store::accounts::find_credentials(cx.db(), Whose::Id(id), auth.demo_accounts).await?;
    Ok(account.ok_or_else(|| Problem::not_found("account")))
}

/// The same, where they have shown a second factor of late.
async fn stepped_up(
    cx: &mut Cx,
    auth: &Auth,
    caller: &Caller,
) -> Result<Result<Credentials, Problem>, Failure> {
    let account = locked(cx, auth, caller).await?;
    if let Err(problem) = need_step_up(cx, caller).await? {
        return Ok(account.and(Err(problem)));
    }
    Ok(account)
}

pub(crate) async fn add_totp(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<AddTotp>],
) -> Answers<TotpAdded> {
    let mut answers = Vec::with_capacity(requests.len());
    for Request { body, caller, .. } in requests {
        answers.push(match own(cx, auth, caller, &body.current_password).await? {
            Ok(account) => factors::add_totp(cx, auth, &account)
                .await?
                .map(TotpAdded::Accepted)
                .ok_or_else(|| {
                    let why = "there is an authenticator app already; remove it first";
                    Problem::new(409, "totp_exists", why)
                }),
            Err(Err(problem)) => Err(problem),
            Err(Ok(PasswordOutcome::Blocked { retry_after_s })) => {
                Ok(TotpAdded::Blocked { retry_after_s })
            }
            Err(Ok(_)) => Ok(TotpAdded::Wrong),
        });
    }
    Ok(answers)
}

pub(crate) async fn confirm_totp(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<ConfirmTotp>],
) -> Answers<FactorAdded> {
    let mut answers = Vec::with_capacity(requests.len());
    for Request { body, caller, .. } in requests {
        let account = match locked(cx, auth, caller).await? {
            Ok(account) => account,
            Err(problem) => {
                answers.push(Err(problem));
                continue;
            }
        };
        let shown = factors::confirm_totp(cx, auth, account.id, &body.code).await?;
        answers.push(match shown {
            Ok(Shown::Good(amr)) => {
                let recovery_codes = factors::welcome(cx, auth, &account, TOTP_NAME).await?;
                note(cx, caller, &account, amr).await?;
                Ok(FactorAdded::Accepted(RecoveryCodes { recovery_codes }))
            }
            Ok(Shown::Wrong) => Ok(FactorAdded::Wrong),
            Ok(Shown::Blocked { retry_after_s }) => Ok(FactorAdded::Blocked { retry_after_s }),
            Err(problem) => Err(problem),
        });
    }
    Ok(answers)
}

/// The session knows that its owner has shown a factor. False where the caller has none: a token of its own.
async fn note(
    cx: &mut Cx,
    caller: &Caller,
    account: &Credentials,
    amr: factors::Amr,
) -> Result<bool, Failure> {
    match caller.session_id() {
        Some(id) => store::factors::save_step_up(cx.db(), id, account.id, amr).await,
        None => Ok(false),
    }
}

pub(crate) async fn remove_totp(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<RemoveTotp>],
) -> Answers<Done> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let account = stepped_up(cx, auth, &request.caller).await?;
        answers.push(match account {
            Ok(account) if store::factors::delete_totp(cx.db(), account.id).await? => {
                factors::farewell(cx, auth, &account, TOTP_NAME).await?;
                Ok(Done {})
            }
            Ok(_) => Err(Problem::not_found("authenticator app")),
            Err(problem) => Err(problem),
        });
    }
    Ok(answers)
}

pub(crate) async fn renew_recovery_codes(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<RenewRecoveryCodes>],
) -> Answers<RecoveryCodes> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let account = stepped_up(cx, auth, &request.caller).await?;
        answers.push(match account {
            Ok(account) if factors::has_any(cx, account.id).await? => {
                let recovery_codes = factors::renew_recovery_codes(cx, account.id).await?;
                Ok(RecoveryCodes { recovery_codes })
            }
            Ok(_) => Err(Problem::new(
                409,
                "no_second_factor",
                "recovery codes take the place of a second factor; add one first",
            )),
            Err(problem) => Err(problem),
        });
    }
    Ok(answers)
}

pub(crate) async fn start_passkey(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<StartPasskey>],
) -> Answers<PasskeyStarted> {
    let mut answers = Vec::with_capacity(requests.len());
    for Request { body, caller, .. } in requests {
        answers.push(match own(cx, auth, caller, &body.current_password).await? {
            Ok(account) => passkeys::start(cx, &auth.passkeys, &account)
                .await?
                .map(PasskeyStarted::Accepted),
            Err(Err(problem)) => Err(problem),
            Err(Ok(PasswordOutcome::Blocked { retry_after_s })) => {
                Ok(PasskeyStarted::Blocked { retry_after_s })
            }
            Err(Ok(_)) => Ok(PasskeyStarted::Wrong),
        });
    }
    Ok(answers)
}

pub(crate) async fn add_passkey(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<AddPasskey>],
) -> Answers<FactorAdded> {
    let mut answers = Vec::with_capacity(requests.len());
    for Request { body, caller, .. } in requests {
        let name = check_name(&body.name).map_err(|error| Problem::invalid(vec![error]));
        let account = locked(cx, auth, caller).await?;
        let (account, name) = match (account, name) {
            (Ok(account), Ok(name)) => (account, name),
            (Err(problem), _) | (_, Err(problem)) => {
                answers.push(Err(problem));
                continue;
            }
        };
        let proof = PasskeyProof {
            ceremony: body.ceremony.clone(),
            credential: body.credential.clone(),
        };
        let added = passkeys::add(cx, &auth.passkeys, account.id, &proof, &name).await?;
        answers.push(if added.is_some() {
            let recovery_codes = factors::welcome(cx, auth, &account, &passkey_name(&name)).await?;
            note(cx, caller, &account, BY_PASSKEY).await?;
            Ok(FactorAdded::Accepted(RecoveryCodes { recovery_codes }))
        } else {
            Ok(FactorAdded::Wrong)
        });
    }
    Ok(answers)
}

pub(crate) async fn rename_passkey(
    cx: &mut Cx,
    _: &Auth,
    requests: &[Request<RenamePasskey>],
) -> Answers<Passkey> {
    let mut answers = Vec::with_capacity(requests.len());
    for Request { body, caller, .. } in requests {
        answers.push(match (account_of(caller), check_name(&body.name)) {
            (Err(problem), _) => Err(problem),
            (_, Err(error)) => Err(Problem::invalid(vec![error])),
            (Ok(account_id), Ok(name)) => {
                store::factors::save_passkey_name(cx.db(), account_id, body.id, &name)
                    .await?
                    .ok_or_else(|| Problem::not_found("passkey"))
            }
        });
    }
    Ok(answers)
}

pub(crate) async fn remove_passkey(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<RemovePasskey>],
) -> Answers<Done> {
    let mut answers = Vec::with_capacity(requests.len());
    for Request { body, caller, .. } in requests {
        let account = match stepped_up(cx, auth, caller).await? {
            Ok(account) => account,
            Err(problem) => {
                answers.push(Err(problem));
                continue;
            }
        };
        let removed = store::factors::delete_passkey(cx.db(), account.id, body.id).await?;
        answers.push(match removed {
            Some(name) => {
                factors::farewell(cx, auth, &account, &passkey_name(&name)).await?;
                Ok(Done {})
            }
            None => Err(Problem::not_found("passkey")),
        });
    }
    Ok(answers)
}

pub(crate) async fn ask_for_passkey(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<AskForPasskey>],
) -> Answers<PasskeyOptions> {
    let mut answers = Vec::with_capacity(requests.len());
    for _ in requests {
        answers.push(passkeys::ask(cx, &auth.passkeys).await?);
    }
    Ok(answers)
}

pub(crate) async fn step_up(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<StepUp>],
) -> Answers<FactorOutcome> {
    let mut answers = Vec::with_capacity(requests.len());
    for Request { body, caller, .. } in requests {
        let account = match locked(cx, auth, caller).await? {
            Ok(account) => account,
            Err(problem) => {
                answers.push(Err(problem));
                continue;
            }
        };
        if caller.session_id().is_none() {
            let why = "this token comes from no session that could remember it; sign in";
            answers.push(Err(Problem::new(409, "session_required", why)));
            continue;
        }
        answers.push(
            match factors::show(cx, auth, account.id, &body.proof).await? {
                Shown::Good(amr) if note(cx, caller, &account, amr).await? => {
                    Ok(FactorOutcome::Accepted)
                }
                // It has ended meanwhile.
                Shown::Good(_) => Err(Problem::unauthenticated("this session has ended")),
                Shown::Wrong => Ok(FactorOutcome::Wrong),
                Shown::Blocked { retry_after_s } => Ok(FactorOutcome::Blocked { retry_after_s }),
            },
        );
    }
    Ok(answers)
}

pub(crate) async fn finish_sign_in(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<FinishSignIn>],
) -> Answers<SignInOutcome> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(Ok(finish(cx, auth, &request.body).await?));
    }
    Ok(answers)
}

async fn finish(
    cx: &mut Cx,
    auth: &Auth,
    attempt: &FinishSignIn,
) -> Result<SignInOutcome, Failure> {
    let hash = secrets::hash(attempt.challenge.expose());
    let found = store::factors::find_challenge(cx.db(), &hash, factors::LIFETIME).await?;
    let Some(challenge) = found else {
        return Ok(SignInOutcome::Ended);
    };
    let whose = Whose::Id(challenge.account_id);
    let account = store::accounts::find_credentials(cx.db(), whose, auth.demo_accounts).await?;
    let account = account.filter(|it| it.password_version == challenge.password_version);
    let Some(account) = account else {
        return Ok(SignInOutcome::Ended);
    };
    let by = match factors::show(cx, auth, account.id, &attempt.proof).await? {
        Shown::Good(by) => by,
        Shown::Wrong => return Ok(SignInOutcome::Wrong),
        Shown::Blocked { retry_after_s } => return Ok(SignInOutcome::Blocked { retry_after_s }),
    };
    store::factors::delete_challenge(cx.db(), &hash).await?;
    let before = challenge.amr.iter().map(String::as_str);
    let amr: Vec<&str> = before.chain(by.iter().copied()).collect();
    let begun = Begun {
        amr: &amr,
        has_shown_factor: true,
        device: &attempt.device,
        instead_of: attempt.instead_of.as_ref(),
    };
    let session = begin_session(cx, &account, begun).await?;
    Ok(SignInOutcome::SignedIn { session })
}

pub(crate) async fn sign_in_by_passkey(
    cx: &mut Cx,
    auth: &Auth,
    requests: &[Request<SignInByPasskey>],
) -> Answers<SignInOutcome> {
    let mut answers = Vec::with_capacity(requests.len());
    for Request { body, .. } in requests {
        let owner = passkeys::owner_of(cx, &auth.passkeys, &body.proof).await?;
        let account = match owner {
            Some(id) => {
                store::accounts::find_credentials(cx.db(), Whose::Id(id), auth.demo_accounts)
                    .await?
            }
            None => None,
        };
        answers.push(Ok(match account {
            Some(account) => {
                let begun = Begun {
                    amr: BY_PASSKEY,
                    has_shown_factor: true,
                    device: &body.device,
                    instead_of: body.instead_of.as_ref(),
                };
                let session = begin_session(cx, &account, begun).await?;
                SignInOutcome::SignedIn { session }
            }
            None => SignInOutcome::Wrong,
        }));
    }
    Ok(answers)
}
