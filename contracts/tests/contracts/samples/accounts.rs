//! What the samples of accounts say.

use shopzen_contracts::{
    Confidential,
    auth::{
        accounts::{
            Accepted, Account, ChangeEmail, ChangeMe, ChangePassword, ConfirmEmail, Done,
            EmailConfirmed, EndSession, GetMe, ListSessions, PasswordOutcome, Register,
            RequestPasswordReset, ResetPassword, Session, SessionInUse, Sessions, SignIn,
            SignInOutcome, SignOut, UseSession,
        },
        authorization::{AuthorizationStep, Authorize, GetUserinfo, Userinfo},
    },
    notify::{LetterTaken, MailKind, SendLetter},
};

use super::{
    Samples,
    values::{id, noon},
};

const EMAIL: &str = "ada@example.com";

pub(super) fn add(samples: &mut Samples) {
    authorization(samples);
    let email = || EMAIL.to_owned();
    let password = || Confidential::new("copper-lantern-drizzle");
    let token = || Confidential::new("019aab00000070008000000000000009.c2lnbmF0dXJl");
    let session = || Confidential::new("c2VjcmV0IG9mIGEgc2Vzc2lvbiwgMjU2IGJpdHM");
    let account = || Account {
        id: id(40),
        email: email(),
        name: "Ada".to_owned(),
        created_at: noon(),
    };
    let register = Register {
        email: email(),
        password: password(),
        name: "Ada".to_owned(),
    };
    samples.command(&register, &Accepted {});
    let confirmed = EmailConfirmed {
        email: Some(email()),
    };
    samples.command(&ConfirmEmail { token: token() }, &confirmed);
    samples.command(&RequestPasswordReset { email: email() }, &Accepted {});
    let reset = ResetPassword {
        token: token(),
        password: password(),
    };
    samples.command(&reset, &Done {});
    let sign_in = SignIn {
        email: email(),
        password: password(),
        device: "Firefox".to_owned(),
        instead_of: Some(session()),
    };
    samples.command(&sign_in, &SignInOutcome::SignedIn { session: session() });
    samples.command(&SignOut { session: session() }, &Done {});
    let in_use = SessionInUse {
        access_token: Confidential::new("eyJ0eXAiOiJhdCtqd3QifQ.e30.c2ln"),
        expires_in: 600,
        session_id: id(41),
        account: account(),
    };
    samples.command(&UseSession { session: session() }, &in_use);
    samples.query(&GetMe {}, &account());
    let name = "Ada".to_owned();
    samples.command(&ChangeMe { name }, &account());
    let change = ChangePassword {
        current_password: password(),
        password: password(),
    };
    samples.command(&change, &PasswordOutcome::Blocked { retry_after_s: 8 });
    let change = ChangeEmail {
        current_password: password(),
        email: email(),
    };
    samples.command(&change, &PasswordOutcome::Accepted);
    let session = Session {
        id: id(41),
        device: "Firefox".to_owned(),
        created_at: noon(),
        seen_at: noon(),
        is_current: true,
    };
    let sessions = Sessions {
        items: vec![session],
    };
    samples.query(&ListSessions {}, &sessions);
    samples.command(&EndSession { id: id(41) }, &Done {});
    let letter = SendLetter {
        letter_id: id(9),
        kind: MailKind::ApproveNewEmail,
        recipient: email(),
        link: Some(Confidential::new(
            "https://shop.example/confirm-email?token=t",
        )),
        account_id: Some(id(40)),
        subject: Some("ada@byron.example".to_owned()),
    };
    samples.command(&letter, &LetterTaken {});
}

fn authorization(samples: &mut Samples) {
    let text = |text: &str| Some(text.to_owned());
    let authorize = Authorize {
        client_id: text("019aab00-0000-7000-8000-000000000032"),
        redirect_uri: text("https://app.example/back"),
        response_type: text("code"),
        scope: text("openid orders:read"),
        state: text("af0ifjsldkj"),
        nonce: text("n-0S6_WzA2Mj"),
        code_challenge: text("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        code_challenge_method: text("S256"),
        prompt: text("consent"),
        max_age: text("3600"),
        consent: Some(true),
        ..Authorize::default()
    };
    let ask = AuthorizationStep::AskConsent {
        client_name: "App".to_owned(),
        client_host: "app.example".to_owned(),
        wishes: vec!["Know that it is you.".to_owned()],
    };
    samples.command(&authorize, &ask);
    let userinfo = Userinfo {
        sub: id(40),
        name: text("Ada"),
        email: text(EMAIL),
        email_verified: Some(true),
    };
    samples.query(&GetUserinfo {}, &userinfo);
}
