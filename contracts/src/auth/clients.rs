//! OAuth clients: programs that others wrote and staff have registered, and the tokens they get for themselves.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::IssuedToken;
use crate::{Access, Command, Confidential, Query, Scope};

/// Where tokens are asked for, below the issuer.
pub const TOKEN_PATH: &str = "/oauth2/token";
/// Where they are given back.
pub const REVOCATION_PATH: &str = "/oauth2/revoke";
/// Where their owner asks what they are.
pub const INTROSPECTION_PATH: &str = "/oauth2/introspect";
/// The public keys.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// How a client comes to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// For itself (RFC 6749, 4.4).
    ClientCredentials,
    /// For somebody who has let it in (RFC 6749, 4.1).
    AuthorizationCode,
    /// For them, once more (RFC 6749, 6).
    RefreshToken,
}

impl GrantType {
    pub const ALL: [Self; 3] = [
        Self::ClientCredentials,
        Self::AuthorizationCode,
        Self::RefreshToken,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == text)
    }
}

/// By what a client shows who it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientProof {
    /// A secret, wherever it stood (RFC 6749, 2.3.1).
    Secret { client_id: String, secret: String },
    /// A JWT that the client has signed (RFC 7523).
    Assertion {
        /// Of the form; the assertion says it too.
        #[serde(default)]
        client_id: Option<String>,
        assertion: String,
    },
    /// Nothing but its name: it runs on people's own machines, and keeps no secret (RFC 8252, 8.4).
    Public { client_id: String },
}

/// What a token is asked for with.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "grant_type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Grant {
    ClientCredentials {
        /// Fewer scopes than the client has, parted by spaces; none: all of them.
        #[serde(default)]
        scope: Option<String>,
    },
    AuthorizationCode {
        code: Confidential,
        /// The one that the code was sent to.
        redirect_uri: Option<String>,
        /// RFC 7636, 4.5.
        code_verifier: Option<Confidential>,
    },
    RefreshToken {
        refresh_token: Confidential,
        /// Fewer scopes than were agreed to.
        #[serde(default)]
        scope: Option<String>,
    },
}

impl Grant {
    pub const fn kind(&self) -> GrantType {
        match self {
            Self::ClientCredentials { .. } => GrantType::ClientCredentials,
            Self::AuthorizationCode { .. } => GrantType::AuthorizationCode,
            Self::RefreshToken { .. } => GrantType::RefreshToken,
        }
    }
}

/// An access token for a client (RFC 6749, 3.2).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestToken {
    pub client: ClientProof,
    pub grant: Grant,
}

impl Command for RequestToken {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.request_token";
    const ACCESS: Access = Access::Client;
    type Reply = IssuedToken;
}

/// A client gives one of its own tokens back (RFC 7009). What is no token of anybody's is none already.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    pub client: ClientProof,
    pub token: String,
}

/// It counts for nothing within seconds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenRevoked {}

impl Command for RevokeToken {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.revoke_token";
    const ACCESS: Access = Access::Client;
    type Reply = TokenRevoked;
}

/// A client asks what one of its own tokens is (RFC 7662). A command, because a signed proof counts once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntrospectToken {
    pub client: ClientProof,
    pub token: String,
}

/// What a token is (RFC 7662, 2.2). Of one that is not good, or not the client's own, nothing is said.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Introspection {
    pub active: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<Uuid>,
}

impl Command for IntrospectToken {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.introspect_token";
    const ACCESS: Access = Access::Client;
    type Reply = Introspection;
}

/// What the authorization server can do, for other programs to find out (RFC 8414).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetMetadata {}

/// RFC 8414, 2. Only what works stands here, and what would be an empty list is left out (3.2).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    pub issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub userinfo_endpoint: String,
    pub revocation_endpoint: String,
    pub introspection_endpoint: String,
    pub jwks_uri: String,
    pub scopes_supported: Vec<String>,
    pub response_types_supported: Vec<String>,
    pub response_modes_supported: Vec<String>,
    pub code_challenge_methods_supported: Vec<String>,
    pub prompt_values_supported: Vec<String>,
    pub subject_types_supported: Vec<String>,
    pub id_token_signing_alg_values_supported: Vec<String>,
    pub claims_supported: Vec<String>,
    /// RFC 9207.
    pub authorization_response_iss_parameter_supported: bool,
    /// Where it is left out it is true.
    pub request_uri_parameter_supported: bool,
    pub grant_types_supported: Vec<String>,
    pub token_endpoint_auth_methods_supported: Vec<String>,
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    pub revocation_endpoint_auth_methods_supported: Vec<String>,
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<String>,
    pub introspection_endpoint_auth_methods_supported: Vec<String>,
    pub introspection_endpoint_auth_signing_alg_values_supported: Vec<String>,
    pub service_documentation: String,
}

impl Query for GetMetadata {
    const SUBJECT: &'static str = "shop.qry.auth.v1.metadata";
    const ACCESS: Access = Access::Anyone;
    type Reply = Metadata;
}

/// Registers a program, and gives it a secret unless it brings keys. Its scopes
/// of staff are at most those of whoever registers it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddClient {
    /// Of those that are in use, each once.
    pub name: String,
    pub grants: Vec<GrantType>,
    /// Where people are sent back to: exactly these.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    pub scopes: Vec<String>,
    /// Whether people are not asked what it may do for them.
    #[serde(default)]
    pub is_trusted: bool,
    /// Whether it runs on people's own machines, and so can keep no secret and act for nobody but them.
    #[serde(default)]
    pub is_public: bool,
    /// Public keys (RFC 7517) of which it signs its proofs with one. With them it gets no secret.
    #[serde(default)]
    pub keys: Vec<Value>,
}

impl Command for AddClient {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.add_client";
    const ACCESS: Access = Access::Scope(Scope::AccountsWrite);
    type Reply = ClientAndSecret;
}

/// A client, and a secret that is never shown again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClientAndSecret {
    pub client: Client,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

/// A program that is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// Its `client_id`.
    pub id: Uuid,
    pub name: String,
    pub grants: Vec<GrantType>,
    pub redirect_uris: Vec<String>,
    pub scopes: Vec<String>,
    pub is_trusted: bool,
    #[serde(default)]
    pub is_public: bool,
    /// Those that are good, newest first.
    pub secrets: Vec<ClientSecret>,
    /// The ids of its public keys.
    pub keys: Vec<String>,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    #[schemars(with = "Option<String>")]
    pub revoked_at: Option<Timestamp>,
}

/// What is known of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientSecret {
    pub id: Uuid,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// None where it is good until another takes its place.
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
}

/// One client.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetClient {
    pub id: Uuid,
}

impl Query for GetClient {
    const SUBJECT: &'static str = "shop.qry.auth.v1.client";
    const ACCESS: Access = Access::Scope(Scope::AccountsWrite);
    type Reply = Client;
}

/// The clients that are registered, the oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListClients {
    /// Those too that were revoked.
    #[serde(default)]
    pub revoked: bool,
    #[serde(default)]
    pub limit: Option<u32>,
    #[serde(default)]
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Clients {
    pub items: Vec<Client>,
    pub next_cursor: Option<String>,
}

impl Query for ListClients {
    const SUBJECT: &'static str = "shop.qry.auth.v1.clients";
    const ACCESS: Access = Access::Scope(Scope::AccountsWrite);
    type Reply = Clients;
}

/// Gives a client another secret; those it has are good for a while longer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateClientSecret {
    pub id: Uuid,
    /// How long those before it are good, in seconds: a day unless said otherwise.
    #[serde(default)]
    pub overlap_s: Option<u32>,
}

impl Command for RotateClientSecret {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.rotate_client_secret";
    const ACCESS: Access = Access::Scope(Scope::AccountsWrite);
    type Reply = ClientAndSecret;
}

/// Puts these public keys in the place of those that a client has.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetClientKeys {
    pub id: Uuid,
    /// RFC 7517.
    pub keys: Vec<Value>,
}

impl Command for SetClientKeys {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.set_client_keys";
    const ACCESS: Access = Access::Scope(Scope::AccountsWrite);
    type Reply = Client;
}

/// Ends a client: it gets no more tokens, and those it has count for nothing within seconds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeClient {
    pub id: Uuid,
}

impl Command for RevokeClient {
    const SUBJECT: &'static str = "shop.cmd.auth.v1.revoke_client";
    const ACCESS: Access = Access::Scope(Scope::AccountsWrite);
    type Reply = Client;
}
