//! What a row of the table holds, and how HTTP paths and words meet it.

use std::net::Ipv4Addr;

use serde_json::Value;

/// Names every method for the dispatcher's exhaustive match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table's summaries say it")]
pub enum MethodId {
    Health,
    Status,
    SystemInfo,
    SystemReboot,
    SystemPoweroff,
    SystemDataReset,
    ServicesStatus,
    ServicesRestart,
    NetworkInfo,
    NetworkInterfaces,
    ConfigShow,
    ConfigApply,
    ConfigValidate,
    ConfigRevisions,
    ConfigSchema,
    DhcpLeasesList,
    DhcpLeasesDelete,
    DnsRecordsList,
    DnsStatistics,
    NtpStatus,
    NtpSources,
    DnsFlush,
    LogsServices,
    AuthStatus,
    AuthSetup,
    AuthLogin,
    AuthLogout,
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
}

/// Who may call a method. Root of the box, through the control socket, may call all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches the box.
    Open,
    /// From the LAN, once, while no password is set and /data is good.
    Setup,
    /// With a session.
    Login,
    /// With a session; while /data is failed and nobody can have one, anyone on the LAN.
    Diagnosis,
}

/// HTTP verbs in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 9110 section 9.3")]
pub enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    /// As in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
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

impl Method {
    /// The parameter with this key.
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params.iter().find(|param| param.name == name)
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
    /// The typed value of a text from a path, a query or a command line. The error says what
    /// would be right.
    pub fn parse(&self, text: &str) -> Result<Value, &'static str> {
        match self.kind {
            ParamKind::Text => Ok(Value::from(text)),
            ParamKind::Number => text
                .parse::<u64>()
                .map(Value::from)
                .map_err(|_| "write a whole number"),
            ParamKind::Flag => match text {
                "1" | "true" | "yes" | "" => Ok(Value::from(true)),
                "0" | "false" | "no" => Ok(Value::from(false)),
                _ => Err("write true or false"),
            },
            ParamKind::Ipv4 => text
                .parse::<Ipv4Addr>()
                .map(|ip| Value::from(ip.to_string()))
                .map_err(|_| "write an IPv4 address such as 192.168.1.20"),
            ParamKind::Object => match serde_json::from_str(text) {
                Ok(Value::Object(map)) => Ok(Value::Object(map)),
                _ => Err("write a JSON object"),
            },
        }
    }
}
