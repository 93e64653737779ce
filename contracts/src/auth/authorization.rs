//! People let programs act for them (OAuth 2.1 with PKCE, OpenID Connect Core 1.0).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Access, Command, Confidential, Query, rights::User};

/// Where people are sent to agree, below the issuer.
pub const AUTHORIZATION_PATH: &str = "/oauth2/authorize";
/// Where programs ask who somebody is.
pub const USERINFO_PATH: &str = "/oauth2/userinfo";

/// What a program can ask for that is nothing a shop does: who somebody is (OpenID Connect Core 1.0, 5.4), and to come back
/// without them (11).
pub const OPENID_SCOPES: [(&str, &str); 4] = [
    ("openid", "Know that it is you."),
    ("profile", "Know your name."),
    ("email", "Know your e-mail address."),
    ("offline_access", "Come back while you are away."),
];

/// What a program sends somebody along with (RFC 6749, 4.1.1; RFC 7636, 4.3; OpenID Connect Core 1.0, 3.1.2.1), with their
/// access token, where they are signed in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authorize {
    pub client_id: Option<String>,
    pub redirect_uri: Option<String>,
    pub response_type: Option<String>,
    pub scope: Option<String>,
    pub state: Option<String>,
    pub nonce: Option<String>,
    pub code_challenge: Option<String>,
    pub code_challenge_method: Option<String>,
    pub prompt: Option<String>,
    /// Seconds since they showed who they are, at the most.
    pub max_age: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_mode: Option<String>,
    /// An ID token of ours: whom the program expects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token_hint: Option<Confidential>,
    /// Ways to send all of this signed, or to be known without being registered (OpenID Connect Core 1.0, 6 and 7.2.1).
    /// There are none here, and whoever tries is told so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
    /// What [`AuthorizationStep::SignIn`] gave along: they have been asked to sign in for this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What they said when they were asked; none where nobody has asked them.
    pub consent: Option<bool>,
}

impl Command for Authorize {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.authorize";
    const ACCESS: Access = Access::Users(&[User::Edge]);
    type Reply = AuthorizationStep;
}

/// What is to happen next in somebody's browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "next", rename_all = "snake_case")]
pub enum AuthorizationStep {
    /// Back to the program, with a code or a refusal.
    Redirect { location: Confidential },
    /// They have to show who they are first.
    SignIn {
        /// Belongs to this question: whoever comes back with it and has signed in meanwhile need not do so once more.
        #[serde(default)]
        since: String,
    },
    /// They have to be asked.
    AskConsent {
        client_name: String,
        /// Where the answer goes: the host of the program's address.
        client_host: String,
        /// Each thing that it wants to do, in words.
        wishes: Vec<String>,
    },
}

/// Who an access token is about, as far as its scopes let the program know (OpenID Connect Core 1.0, 5.3).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetUserinfo {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Userinfo {
    pub sub: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
}

impl Query for GetUserinfo {
    const SUBJECT: &'static str = "shop.qry.auth.v1.userinfo";
    const ACCESS: Access = Access::SignedIn;
    type Reply = Userinfo;
}
