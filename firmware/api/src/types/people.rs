//! People, their sessions and tokens, and what they did.

use std::net::IpAddr;

use lintel_model::HostName;
use serde::{Deserialize, Serialize};

/// Shortest password taken, characters (NIST SP 800-63B section 3.1.1.2).
pub const PASSWORD_CHARS_MIN: usize = 8;

/// Longest password taken, octets.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// Longest name of a token, characters.
pub const TOKEN_NAME_CHARS_MAX: usize = 64;

/// Days a token lasts unless its maker says otherwise.
pub const TOKEN_DAYS_DEFAULT: u32 = 365;

/// Most days a token lasts: ten years.
pub const TOKEN_DAYS_MAX: u32 = 3650;

/// `auth.login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginParams {
    /// The password.
    pub password: String,
    /// Six digits of the second factor, when one is on.
    #[serde(default)]
    pub code: Option<String>,
}

impl std::fmt::Debug for LoginParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginParams")
    }
}

/// `auth.refresh`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionRefreshed {
    /// When the session ends, however much it is used: as before.
    pub ends_unix_s: u64,
    /// When it ends if nobody uses it.
    pub idle_ends_unix_s: u64,
}

/// `auth.rotate-key`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateKeyParams {
    /// The token; absent: the caller's own.
    #[serde(default)]
    pub id: Option<u64>,
}

/// `auth.totp`: without `code` and `off`, a new secret is begun.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TotpParams {
    /// The password; root of the box need not know it.
    #[serde(default)]
    pub current: Option<String>,
    /// Six digits that confirm the secret which was begun.
    #[serde(default)]
    pub code: Option<String>,
    /// Take it away.
    #[serde(default)]
    pub off: bool,
}

impl std::fmt::Debug for TotpParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TotpParams {{ off: {} }}", self.off)
    }
}

/// `auth.totp`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TotpState {
    /// `off`; `begun`: a code is wanted before it counts; `on`.
    pub state: String,
    /// The secret in base32, when it was begun; shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The same as a link that authenticators open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

impl std::fmt::Debug for TotpState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TotpState({})", self.state)
    }
}

/// `auth.users.list`: one who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UserInfo {
    /// `owner`.
    pub name: String,
    /// `admin`.
    pub role: String,
    /// A password is set.
    pub claimed: bool,
    /// A second factor is wanted at the login.
    pub totp: bool,
}

/// `auth.setup`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordParams {
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for PasswordParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordParams")
    }
}

/// `auth.status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuthStatus {
    /// A password is set.
    pub claimed: bool,
    /// This caller has a session, or an API token.
    pub logged_in: bool,
    /// This caller may set the password now.
    pub may_claim: bool,
    /// /data is failed: only diagnosis and reset are left.
    pub data_failed: bool,
    /// A second factor is wanted at the login.
    #[serde(default)]
    pub totp: bool,
    /// While no password is set: that somebody at the box took it away, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    /// The box's name, for the page's title.
    pub hostname: HostName,
    /// As in [`SystemInfo`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_sha256: Option<String>,
}

/// `auth.password.change`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordChangeParams {
    /// The new password.
    pub password: String,
    /// The one that counts now; root of the box need not know it.
    #[serde(default)]
    pub current: Option<String>,
}

impl std::fmt::Debug for PasswordChangeParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordChangeParams")
    }
}

/// `auth.sessions.list`: one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionInfo {
    /// Names it to `auth.sessions.end`; not the session's token.
    pub id: String,
    /// When it began.
    pub created_unix_s: u64,
    /// When it was last used.
    pub used_unix_s: u64,
    /// When it ends, however much it is used.
    pub ends_unix_s: u64,
    /// When it ends if nobody uses it.
    pub idle_ends_unix_s: u64,
    /// Where it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// It is the caller's own.
    pub current: bool,
}

/// `auth.sessions.end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SessionEndParams {
    /// From the list.
    pub id: String,
}

/// `auth.tokens.list`: one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenInfo {
    /// Its number.
    pub id: u64,
    /// What its maker calls it.
    pub name: String,
    /// `read`, `write` or `admin`.
    pub scope: String,
    /// When it was made.
    pub created_unix_s: u64,
    /// When it ends.
    pub expires_unix_s: u64,
    /// It is over.
    pub expired: bool,
}

/// `auth.tokens.create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenCreateParams {
    /// What to call it.
    pub name: String,
    /// `read`, `write` or `admin`.
    pub scope: String,
    /// How long it lasts.
    #[serde(default)]
    pub days: Option<u32>,
}

/// `auth.tokens.create`, the only time that the token is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenCreated {
    /// Its number.
    pub id: u64,
    /// When it ends.
    pub expires_unix_s: u64,
    /// The token, for `Authorization: Bearer`; the box keeps its hash alone.
    pub token: String,
}

impl std::fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenCreated({})", self.id)
    }
}

/// `auth.tokens.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenDeleteParams {
    /// From the list.
    pub id: u64,
}

/// `audit.list`: one change that somebody made or tried to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// When.
    pub unix_s: u64,
    /// `owner` (a session), `token NAME`, `local` (root of the box), `anyone`.
    pub who: String,
    /// From where, over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The method.
    pub method: String,
    /// `done`, `begun` when its end was not seen, or the short name of the problem.
    pub outcome: String,
    /// Why, in the caller's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The configuration's revision that came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}
