//! What a row of the table holds, and how HTTP paths and words meet it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::Value;

/// Names every method for the dispatcher's exhaustive match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table's summaries say it")]
pub enum MethodId {
    Health,
    Status,
    SystemInfo,
    SystemStats,
    Metrics,
    SystemReboot,
    SystemPoweroff,
    SystemTimeShow,
    SystemTimeSet,
    SystemDataReset,
    ServicesStatus,
    ServicesRestart,
    ServicesStart,
    ServicesStop,
    ServicesConnectivity,
    ServicesBusStatus,
    ServicesBusEvents,
    NetworkInfo,
    NetworkInterfaces,
    NetworkTest,
    ConfigShow,
    ConfigApply,
    ConfigPatch,
    ConfigValidate,
    ConfigPlan,
    ConfigCommit,
    ConfigConfirm,
    ConfigRollback,
    ConfigRevisions,
    ConfigSchema,
    ConfigRevisionsShow,
    ConfigDiff,
    ConfigExport,
    ConfigImport,
    ConfigBackup,
    ConfigBackups,
    ConfigRestore,
    DhcpLeasesList,
    DhcpLeasesDelete,
    DhcpReservationsList,
    DhcpReservationsAdd,
    DhcpReservationsDelete,
    DnsRecordsList,
    DnsRecordsAdd,
    DnsRecordsDelete,
    DnsStatistics,
    NtpStatus,
    NtpSources,
    DnsFlush,
    LogsServices,
    LogsSearch,
    LogsExport,
    LogsRotate,
    LogsStatistics,
    TasksList,
    TasksShow,
    TasksCancel,
    TasksResult,
    SupportCollect,
    AuthStatus,
    AuthSetup,
    AuthLogin,
    AuthLogout,
    AuthRefresh,
    AuthRotateKey,
    AuthTotp,
    AuthUsersList,
    AuthPasswordChange,
    AuthSessionsList,
    AuthSessionsEnd,
    AuthTokensList,
    AuthTokensCreate,
    AuthTokensDelete,
    AuditList,
    Openapi,
}

/// One method.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// For dispatch.
    pub id: MethodId,
    /// `domain.noun.verb`; the CLI's words are its parts.
    pub name: &'static str,
    /// Other words for the CLI, separated by blanks.
    pub aliases: &'static [&'static str],
    /// One line of help, without a full stop.
    pub summary: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Whether it changes something, so that it leaves a line in the audit trail.
    pub changes: bool,
    /// HTTP verb.
    pub verb: Verb,
    /// HTTP path; `{name}` stands for one segment.
    pub path: &'static str,
    /// Parameters.
    pub params: &'static [Param],
    /// Status codes of its own refusals, beside those that [`Method::refusals`] adds.
    pub refuses: &'static [u16],
}

/// Who may call a method. Root of the box, through the control socket, may call all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches the box.
    Open,
    /// From the LAN, once, while no password is set and /data is good.
    Setup,
    /// With a session, or with a token whose scope is at least [`Method::scope`].
    Login,
    /// With a session or a token of scope `admin`.
    Admin,
    /// With a session: no token does, so that a stolen one makes no second one and changes no
    /// password.
    Person,
    /// With a session, with a token whose scope is at least [`Method::scope`], or with one that
    /// the method itself knows.
    Token,
    /// As [`Access::Login`]; while /data is failed and nobody can have one, anyone on the LAN.
    Diagnosis,
    /// As [`Access::Admin`]; while /data is failed and nobody can have a session, anyone on the
    /// LAN.
    Rescue,
}

/// What an API token may do; each word includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look.
    Read,
    /// Change what the box does.
    Write,
    /// What can lock people out or lose what is stored.
    Admin,
}

impl Scope {
    /// Every word, as in the API.
    pub const WORDS: [&'static str; 3] = ["read", "write", "admin"];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The scope of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Admin]
            .into_iter()
            .find(|scope| scope.as_str() == word)
    }
}

/// HTTP verbs in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 9110 section 9.3")]
pub enum Verb {
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

impl Verb {
    /// As in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One parameter. All of a call's parameters form one JSON object, wherever HTTP puts them.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its key.
    pub name: &'static str,
    /// What it holds.
    pub kind: ParamKind,
    /// Where HTTP puts it.
    pub place: Place,
    /// Whether it must be there.
    pub required: bool,
    /// One line of help.
    pub summary: &'static str,
}

/// What a parameter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// Text.
    Text,
    /// A whole number, zero or more.
    Number,
    /// A whole number from 1 to this.
    Count(u32),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `true` or `false`; in texts also `1` and `0`.
    Flag,
    /// An IPv4 address.
    Ipv4,
    /// A JSON object.
    Object,
}

/// Where HTTP puts a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A segment of the path.
    Path,
    /// The query.
    Query,
    /// A member of the JSON body.
    Body,
    /// A header field: the parameter's name with hyphens.
    Header,
}

/// What an answer over HTTP is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The result as it is.
    Json,
    /// The result is a text, and the answer that text (Prometheus' format 0.0.4).
    Text,
    /// The result is a [`crate::types::TaskResult`], and the answer its content.
    File,
}

impl Content {
    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::File => "application/gzip",
        }
    }
}

/// What a verb and a path lead to.
#[derive(Debug)]
pub enum Lookup<'p> {
    /// This method.
    Found {
        /// Its row.
        method: &'static Method,
        /// Path parameters, raw.
        params: Vec<(&'static str, &'p str)>,
    },
    /// The path exists under other verbs.
    WrongVerb {
        /// These.
        allowed: Vec<Verb>,
    },
    /// No such path.
    NotFound,
}

/// What any request can meet before a method is asked: malformed (400), late (408), for another
/// host (421), a head over its bound (431), something of ours that broke (500), HTTP that is not
/// spoken here (417, 501, 505), a box that is busy or just starting (503).
const ALWAYS: [u16; 9] = [400, 408, 417, 421, 431, 500, 501, 503, 505];

impl Method {
    /// The parameter with this key.
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// What a token needs for this method; `None` where no token does.
    pub fn scope(&self) -> Option<Scope> {
        match self.access {
            Access::Person | Access::Setup => None,
            Access::Admin | Access::Rescue => Some(Scope::Admin),
            _ if self.changes => Some(Scope::Write),
            _ => Some(Scope::Read),
        }
    }

    /// Every status code with which a call over HTTP can be refused, in order. What is not here
    /// is not answered: the application checks it in debug builds.
    pub fn refusals(&self) -> BTreeSet<u16> {
        let mut all = BTreeSet::from(ALWAYS);
        all.extend(self.refuses);
        if self.verb != Verb::Get {
            // Another site's page; a body without a length, too large, of another type.
            all.extend([403, 411, 413, 415]);
        }
        if self.access != Access::Open {
            all.insert(403);
        }
        if !matches!(self.access, Access::Open | Access::Setup) {
            all.insert(401);
        }
        if !self.params.is_empty() {
            all.insert(422);
        }
        if self.param("if_match").is_some() {
            all.insert(412);
        }
        if self.param("idempotency_key").is_some() {
            all.insert(409);
        }
        if self.changes {
            // No room to store it, or no storage.
            all.insert(507);
        }
        all
    }

    /// What its answer over HTTP is.
    pub const fn content(&self) -> Content {
        match self.id {
            MethodId::Metrics => Content::Text,
            MethodId::TasksResult => Content::File,
            _ => Content::Json,
        }
    }

    /// The path's parameters when `path` is this method's. A segment that stands for a
    /// parameter must not be empty.
    pub fn match_path<'p>(&self, path: &'p str) -> Option<Vec<(&'static str, &'p str)>> {
        let mut params = Vec::new();
        let mut theirs = path.split('/');
        for ours in self.path.split('/') {
            let segment = theirs.next()?;
            match ours.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                Some(name) if !segment.is_empty() => params.push((name, segment)),
                Some(_) => return None,
                None if ours == segment => {}
                None => return None,
            }
        }
        theirs.next().is_none().then_some(params)
    }
}

impl Param {
    /// Its name as a header field, lower case.
    pub fn field_name(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The typed value of a text from a path, a query or a command line. The error says what
    /// would be right.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let wanted = || self.kind.wanted();
        match self.kind {
            ParamKind::Text => Ok(Value::from(text)),
            ParamKind::Number => text.parse::<u64>().map(Value::from).map_err(|_| wanted()),
            ParamKind::Count(max) => match text.parse::<u32>() {
                Ok(n) if (1..=max).contains(&n) => Ok(Value::from(n)),
                _ => Err(wanted()),
            },
            ParamKind::OneOf(words) if words.contains(&text) => Ok(Value::from(text)),
            ParamKind::OneOf(_) => {
                let text: String = text.chars().take(32).collect();
                Err(format!("there is no {text:?}: {}", wanted()))
            }
            ParamKind::Flag => match text {
                "1" | "true" | "yes" | "" => Ok(Value::from(true)),
                "0" | "false" | "no" => Ok(Value::from(false)),
                _ => Err(wanted()),
            },
            ParamKind::Ipv4 => text
                .parse::<Ipv4Addr>()
                .map(|ip| Value::from(ip.to_string()))
                .map_err(|_| wanted()),
            ParamKind::Object => match serde_json::from_str(text) {
                Ok(Value::Object(map)) => Ok(Value::Object(map)),
                _ => Err(wanted()),
            },
        }
    }

    /// Whether a JSON value is what this parameter holds; the error says what would be right.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match (self.kind, value) {
            (ParamKind::Text, Value::String(_))
            | (ParamKind::Flag, Value::Bool(_))
            | (ParamKind::Object, Value::Object(_)) => true,
            (ParamKind::Number, Value::Number(n)) => n.is_u64(),
            (ParamKind::Count(max), Value::Number(n)) => n
                .as_u64()
                .is_some_and(|n| (1..=u64::from(max)).contains(&n)),
            (ParamKind::OneOf(words), Value::String(text)) => words.contains(&text.as_str()),
            (ParamKind::Ipv4, Value::String(text)) => text.parse::<Ipv4Addr>().is_ok(),
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            Err(self.kind.wanted())
        }
    }
}

impl ParamKind {
    fn wanted(self) -> String {
        match self {
            Self::Text => "write a text".to_owned(),
            Self::Number => "write a whole number".to_owned(),
            Self::Count(max) => format!("write a whole number from 1 to {max}"),
            Self::OneOf(words) => format!("write one of {}", words.join(", ")),
            Self::Flag => "write true or false".to_owned(),
            Self::Ipv4 => "write an IPv4 address such as 192.168.1.20".to_owned(),
            Self::Object => "write a JSON object".to_owned(),
        }
    }
}
