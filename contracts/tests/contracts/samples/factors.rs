//! What the samples of second factors say.

use serde_json::json;
use shopzen_contracts::{
    Confidential,
    auth::{
        accounts::{Done, SignInOutcome},
        factors::{
            AddPasskey, AddTotp, AskForPasskey, ConfirmTotp, FactorAdded, FactorMethod,
            FactorOutcome, FactorProof, Factors, FinishSignIn, ListFactors, Passkey,
            PasskeyOptions, PasskeyProof, PasskeyStarted, RecoveryCodes, RemovePasskey, RemoveTotp,
            RenamePasskey, RenewRecoveryCodes, SignInByPasskey, StartPasskey, StepUp, TotpAdded,
            TotpSecret,
        },
    },
};

use super::{
    Samples,
    values::{id, noon},
};

pub(super) fn add(samples: &mut Samples) {
    let secret = || Confidential::new("c2VjcmV0IG9mIGEgc2Vzc2lvbiwgMjU2IGJpdHM");
    let code = || Confidential::new("287082");
    let needed = SignInOutcome::SecondFactorNeeded {
        challenge: secret(),
        methods: vec![FactorMethod::Totp, FactorMethod::RecoveryCode],
    };
    let finish = FinishSignIn {
        challenge: secret(),
        proof: FactorProof::Totp { code: code() },
        device: "Firefox".to_owned(),
        instead_of: Some(secret()),
    };
    samples.command(&finish, &needed);
    let by_passkey = SignInByPasskey {
        proof: shown(),
        device: "Firefox".to_owned(),
        instead_of: None,
    };
    let signed_in = SignInOutcome::SignedIn { session: secret() };
    samples.command(&by_passkey, &signed_in);
    samples.command(&AskForPasskey {}, &options());
    let step_up = StepUp {
        proof: FactorProof::RecoveryCode {
            code: Confidential::new("mfrg-gzdf-mztw-q2lk"),
        },
    };
    samples.command(&step_up, &FactorOutcome::Accepted);
    let factors = Factors {
        totp_since: Some(noon()),
        passkeys: vec![passkey()],
        recovery_codes: 10,
        passkeys_offered: true,
    };
    samples.query(&ListFactors {}, &factors);
    of_totp(samples);
    of_passkeys(samples);
}

fn shown() -> PasskeyProof {
    PasskeyProof {
        ceremony: Confidential::new("Y2VyZW1vbnksIDI1NiBiaXRz"),
        credential: json!({ "id": "AQID", "type": "public-key" }),
    }
}

fn options() -> PasskeyOptions {
    PasskeyOptions {
        ceremony: Confidential::new("Y2VyZW1vbnksIDI1NiBiaXRz"),
        options: json!({ "challenge": "BAUG", "userVerification": "required" }),
    }
}

fn passkey() -> Passkey {
    Passkey {
        id: id(42),
        name: "Phone".to_owned(),
        created_at: noon(),
        used_at: None,
    }
}

fn recovery_codes() -> RecoveryCodes {
    RecoveryCodes {
        recovery_codes: vec![Confidential::new("mfrg-gzdf-mztw-q2lk")],
    }
}

fn of_totp(samples: &mut Samples) {
    let add = AddTotp {
        current_password: Confidential::new("copper-lantern-drizzle"),
    };
    let secret = TotpSecret {
        secret: Confidential::new("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"),
        uri: Confidential::new("otpauth://totp/shop.example:ada%40example.com?secret=GEZDGNBV"),
    };
    samples.command(&add, &TotpAdded::Accepted(secret));
    let confirm = ConfirmTotp {
        code: Confidential::new("287082"),
    };
    samples.command(&confirm, &FactorAdded::Accepted(recovery_codes()));
    samples.command(&RemoveTotp {}, &Done {});
    samples.command(&RenewRecoveryCodes {}, &recovery_codes());
}

fn of_passkeys(samples: &mut Samples) {
    let start = StartPasskey {
        current_password: Confidential::new("copper-lantern-drizzle"),
    };
    samples.command(&start, &PasskeyStarted::Accepted(options()));
    let PasskeyProof {
        ceremony,
        credential,
    } = shown();
    let add = AddPasskey {
        name: "Phone".to_owned(),
        ceremony,
        credential,
    };
    samples.command(&add, &FactorAdded::Blocked { retry_after_s: 8 });
    let rename = RenamePasskey {
        id: id(42),
        name: "Phone".to_owned(),
    };
    samples.command(&rename, &passkey());
    samples.command(&RemovePasskey { id: id(42) }, &Done {});
}
