//! Methods: who may call them, and what each does.

use lintel_api::types::Memory;
use lintel_api::types::{
    Done, Health, LOG_LINES_MAX, LogEntry, LogParams, RESET_CONFIRM, ResetParams, RevisionParams,
    ServiceParams,
};
use lintel_api::{Access, Method, MethodId, Scope};
use lintel_ipc::call::{Call, Caller, FieldError, Origin, Problem, Reply};
use lintel_ipc::dnsd::ToDnsd;
use lintel_ipc::init::{InitReply, InitRequest, LogLine};
use lintel_ipc::webd::ToWebd;
use lintel_model::RoleName;
use lintel_model::facts::DataState;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::audit::reason;
use super::auth::Bearer;
use super::core::{Core, InitUse, Measure, Now, Output, Via, Waiter};
use super::support::Support;
use super::tasks::{Heard, Work};

/// Lines of a log unless the caller says otherwise.
const LOG_LINES_DEFAULT: u32 = 100;
/// How old the list of roles may be for a page.
const SERVICES_FRESH: embassy_time::Duration = embassy_time::Duration::from_secs(1);

/// A method that did what was asked: its answer, or that one comes.
pub(super) enum Outcome {
    Now(Value),
    /// With the session that begins (or ends, when empty).
    Session(Value, String),
    Later,
}

/// How a method ends.
pub(super) type Answer = Result<Outcome, Problem>;

/// Answers at once.
pub(super) fn at_once(value: &impl Serialize) -> Answer {
    to_value(value).map(Outcome::Now)
}

impl Core {
    pub(super) fn call(&mut self, now: Now, via: Via, call: Call, memory: Option<Memory>) {
        let waiter = Waiter { via, id: call.id };
        let mut caller = call.caller;
        // The way by which it came is a fact, not a claim.
        caller.origin = match via {
            Via::Web => Origin::Web,
            Via::Control(_) => Origin::Local,
        };
        let Some(method) = lintel_api::by_name(&call.method) else {
            let detail = "lintel --help lists the methods there are.";
            let unknown = problem(404, "unknown-method", "There is no such method", detail);
            return self.reply(waiter, Err(unknown), None);
        };
        let bearer = self.bearer(now, &caller);
        let reason = reason(&call.params);
        let mut params = call.params;
        let allowed = self.authorise(method, &caller, &bearer);
        if allowed.is_ok()
            && let Some(done) = self.done_before(now, waiter, method, &caller, &mut params)
        {
            return self.reply(waiter, done, None);
        }
        let fits = allowed.and_then(|()| self.precondition(method, &mut params));
        let answer =
            fits.and_then(|()| self.dispatch(now, method.id, waiter, &caller, params, memory));
        if method.changes {
            self.audit(now, waiter, method, &caller, &bearer, reason, &answer);
        }
        match answer {
            Ok(Outcome::Now(value)) => self.reply(waiter, Ok(value), None),
            Ok(Outcome::Session(value, token)) => self.reply(waiter, Ok(value), Some(token)),
            Ok(Outcome::Later) => {}
            Err(problem) => self.reply(waiter, Err(problem), None),
        }
    }

    /// Exhaustive: a row of the table without an arm does not compile.
    fn dispatch(
        &mut self,
        now: Now,
        id: MethodId,
        waiter: Waiter,
        caller: &Caller,
        params: Value,
        memory: Option<Memory>,
    ) -> Answer {
        match id {
            MethodId::Health => at_once(&Health {
                status: "up".to_owned(),
            }),
            MethodId::Status => self.status_call(now, waiter, memory),
            MethodId::SystemInfo => at_once(&self.system_info(now, memory)),
            MethodId::SystemStats => self.measure_call(now, Measure::Stats(waiter)),
            MethodId::Metrics => self.measure_call(now, Measure::Metrics(waiter)),
            MethodId::SystemReboot => self.act(now, waiter, InitRequest::Reboot),
            MethodId::SystemPoweroff => self.act(now, waiter, InitRequest::PowerOff),
            MethodId::SystemTimeShow => at_once(&self.time_shown(now)),
            MethodId::SystemTimeSet => self.time_set(now, waiter, &read(params)?),
            MethodId::SystemDataReset => {
                let params: ResetParams = read(params)?;
                if params.confirm != RESET_CONFIRM {
                    let hint = "write «erase everything»";
                    return Err(bad_field("confirm", "the words do not match", hint));
                }
                self.act(now, waiter, InitRequest::ResetData)
            }
            MethodId::ServicesStatus => self.services_call(now, waiter),
            MethodId::ServicesRestart | MethodId::ServicesStart => {
                self.on_role(now, waiter, &read(params)?, |role| InitRequest::Restart {
                    role,
                })
            }
            MethodId::ServicesStop => self.on_role(now, waiter, &read(params)?, |role| {
                InitRequest::Halt { role }
            }),
            MethodId::ServicesConnectivity => at_once(&self.connectivity(now)),
            MethodId::ServicesBusStatus => at_once(&self.bus_status()),
            MethodId::ServicesBusEvents => at_once(&self.bus_events(read(params)?)?),
            MethodId::NetworkInfo => at_once(&self.network_info()),
            MethodId::NetworkInterfaces => at_once(&self.interfaces()),
            MethodId::NetworkTest => self.network_test(now, &read(params)?),
            MethodId::ConfigShow => at_once(&self.config_show(read(params)?)?),
            MethodId::ConfigValidate => at_once(&self.config_validate(read(params)?)?),
            MethodId::ConfigApply | MethodId::ConfigCommit => {
                self.config_commit(now, waiter, caller, read(params)?)
            }
            MethodId::ConfigPlan => self.config_plan(now, waiter, caller, read(params)?),
            MethodId::ConfigPatch => self.config_patch(now, waiter, caller, read(params)?),
            MethodId::ConfigConfirm => self.config_confirm(now, caller, &read(params)?),
            MethodId::ConfigRollback => self.config_rollback(now, waiter, caller, read(params)?),
            MethodId::ConfigRevisionsShow => {
                let params: RevisionParams = read(params)?;
                at_once(&self.revision_shown(params.revision)?)
            }
            MethodId::ConfigDiff => at_once(&self.config_diff(&read(params)?)?),
            MethodId::ConfigExport => self.config_export(now, waiter, memory, read(params)?),
            MethodId::ConfigImport => self.config_import(now, waiter, memory, read(params)?),
            MethodId::ConfigBackup => at_once(&self.config_backup(now, &read(params)?)?),
            MethodId::ConfigBackups => at_once(&self.config_backups(&read(params)?)?),
            MethodId::ConfigRestore => self.config_restore(now, waiter, caller, read(params)?),
            MethodId::ConfigRevisions => at_once(&self.config_revisions(&read(params)?)?),
            MethodId::ConfigSchema => at_once(&lintel_model::config::json_schema()),
            MethodId::DhcpLeasesList => at_once(&self.leases(now, &read(params)?)?),
            MethodId::DhcpLeasesDelete => at_once(&self.lease_delete(now, &read(params)?)?),
            MethodId::DhcpReservationsList => at_once(&self.reservations(now, &read(params)?)?),
            MethodId::DhcpReservationsAdd => {
                self.reservation_add(now, waiter, caller, read(params)?)
            }
            MethodId::DhcpReservationsDelete => {
                self.reservation_delete(now, waiter, caller, read(params)?)
            }
            MethodId::DnsRecordsAdd => self.record_add(now, waiter, caller, read(params)?),
            MethodId::DnsRecordsDelete => self.record_delete(now, waiter, caller, read(params)?),
            MethodId::DnsRecordsList => at_once(&self.records(&read(params)?)?),
            MethodId::DnsStatistics => at_once(&self.dns_statistics),
            MethodId::NtpStatus => at_once(&self.clock_report()),
            MethodId::NtpSources => at_once(&self.clock_report().sources),
            MethodId::DnsFlush => {
                if self.up.contains(&RoleName::Dnsd) {
                    self.say(Output::Dnsd(ToDnsd::Flush));
                    at_once(&Done {})
                } else {
                    Err(away("dnsd"))
                }
            }
            MethodId::LogsServices => self.logs_call(now, waiter, &read(params)?),
            MethodId::LogsSearch => self.log_search(now, waiter, &read(params)?),
            MethodId::LogsExport => at_once(&self.log_export(now, &read(params)?)?),
            MethodId::LogsRotate => self.act(now, waiter, InitRequest::RotateLogs),
            MethodId::LogsStatistics => {
                let used = InitUse::LogStatistics(waiter);
                self.later(now, InitRequest::LogStatistics, used)
            }
            MethodId::SupportCollect => {
                let work = Work::Support(Box::new(Support::new(self, now)));
                at_once(&self.begin_task(now, "support.collect", work)?)
            }
            MethodId::TasksList => at_once(&self.task_list()),
            MethodId::TasksShow => at_once(&self.task_shown(&read(params)?)?),
            MethodId::TasksCancel => at_once(&self.task_cancel(now, &read(params)?)?),
            MethodId::TasksResult => at_once(&self.task_result(&read(params)?)?),
            MethodId::AuthStatus => at_once(&self.auth_status(now, caller)),
            MethodId::AuthSetup => self.auth_setup(now, caller, &read(params)?),
            MethodId::AuthLogin => self.auth_login(now, caller, &read(params)?),
            MethodId::AuthLogout => self.auth_logout(caller),
            MethodId::AuthRefresh => self.auth_refresh(now, caller),
            MethodId::AuthRotateKey => at_once(&self.rotate_key(now, caller, &read(params)?)?),
            MethodId::AuthTotp => at_once(&self.totp_call(now, caller, &read(params)?)?),
            MethodId::AuthUsersList => at_once(&self.user_list(&read(params)?)?),
            MethodId::AuthPasswordChange => self.password_change(now, caller, &read(params)?),
            MethodId::AuthSessionsList => {
                at_once(&self.session_list(now, caller, &read(params)?)?)
            }
            MethodId::AuthSessionsEnd => at_once(&self.session_end(now, &read(params)?)?),
            MethodId::AuthTokensList => at_once(&self.token_list(now, &read(params)?)?),
            MethodId::AuthTokensCreate => at_once(&self.token_create(now, read(params)?)?),
            MethodId::AuthTokensDelete => at_once(&self.token_delete(&read(params)?)?),
            MethodId::AuditList => at_once(&self.audit_list(&read(params)?)?),
            // webd has the text itself; this is for the command line.
            MethodId::Openapi => openapi().map(Outcome::Now),
        }
    }

    /// Whom the caller's token belongs to.
    fn bearer(&mut self, now: Now, caller: &Caller) -> Bearer {
        let bearer = self.auth.bearer(now, caller.token.as_deref());
        if let Bearer::Session(key) = &bearer
            && let Some(unix_s) = self.auth.use_to_store(key)
        {
            self.stored("noting a session's use", |store| {
                store.note_session_used(key, unix_s)
            });
        }
        bearer
    }

    fn authorise(&self, method: &Method, caller: &Caller, bearer: &Bearer) -> Result<(), Problem> {
        let local = caller.origin == Origin::Local;
        let good = self.facts.data == DataState::Good;
        match method.access {
            Access::Open => Ok(()),
            Access::Setup if !good => Err(data_failed()),
            Access::Setup if self.auth.is_claimed() => Err(problem(
                409,
                "already-claimed",
                "A password is set already",
                "Log in with it. Who has lost it can reset the box's data.",
            )),
            Access::Setup if local || self.is_on_lan(caller) => Ok(()),
            Access::Setup => Err(problem(
                403,
                "not-from-lan",
                "The first password is set from the household's network",
                "Connect to a LAN port of the box.",
            )),
            _ if local => Ok(()),
            Access::Token if *bearer == Bearer::Nobody => Ok(()),
            Access::Diagnosis | Access::Rescue if !good && self.is_on_lan(caller) => Ok(()),
            _ => match (bearer, method.scope()) {
                (Bearer::Session(_), _) => Ok(()),
                (Bearer::Token { scope, .. }, Some(needed)) if *scope >= needed => Ok(()),
                (Bearer::Token { .. }, needed) => Err(out_of_scope(needed)),
                (Bearer::Nobody, _) => Err(problem(
                    401,
                    "not-logged-in",
                    "This needs a login",
                    "Log in, or call it with a token.",
                )),
            },
        }
    }

    /// Whether the caller sits on a link on which the UI is served.
    pub(super) fn is_on_lan(&self, caller: &Caller) -> bool {
        let links = &self.resolved.web.links;
        let on_link = caller
            .link_index
            .is_some_and(|index| links.iter().any(|link| link.index == index));
        // Under `lintel run` the box's user may sit at the same machine.
        let same_machine = self.facts.run && caller.address.is_some_and(|a| a.is_loopback());
        on_link || same_machine
    }

    fn act(&mut self, now: Now, waiter: Waiter, request: InitRequest) -> Answer {
        self.later(now, request, InitUse::Act(waiter))
    }

    fn on_role(
        &mut self,
        now: Now,
        waiter: Waiter,
        params: &ServiceParams,
        request: impl FnOnce(RoleName) -> InitRequest,
    ) -> Answer {
        let role = role(&params.name)?;
        self.act(now, waiter, request(role))
    }

    pub(super) fn later(&mut self, now: Now, request: InitRequest, used: InitUse) -> Answer {
        if self.ask_init(now, request, used) {
            Ok(Outcome::Later)
        } else {
            Err(problem(
                503,
                "busy",
                "Too many questions are on their way",
                "Try again in a moment.",
            ))
        }
    }

    fn fresh_services(&self, now: Now) -> bool {
        self.services
            .as_ref()
            .is_some_and(|(at, _)| *at + SERVICES_FRESH > now.mono)
    }

    fn status_call(&mut self, now: Now, waiter: Waiter, memory: Option<Memory>) -> Answer {
        if self.fresh_services(now) {
            return at_once(&self.status(now, memory));
        }
        self.later(now, InitRequest::Services, InitUse::Status(waiter, memory))
    }

    fn measure_call(&mut self, now: Now, measure: Measure) -> Answer {
        self.later(now, InitRequest::Services, InitUse::Measure(measure))
    }

    fn services_call(&mut self, now: Now, waiter: Waiter) -> Answer {
        if self.fresh_services(now) {
            return at_once(&self.service_list());
        }
        self.later(now, InitRequest::Services, InitUse::Services(waiter))
    }

    fn logs_call(&mut self, now: Now, waiter: Waiter, params: &LogParams) -> Answer {
        let of = match params.name.as_str() {
            "all" => None,
            "init" => Some(RoleName::Init),
            name => Some(role(name)?),
        };
        let lines_max = params.lines.unwrap_or(LOG_LINES_DEFAULT).min(LOG_LINES_MAX);
        let request = InitRequest::Logs {
            role: of,
            lines_max,
        };
        self.later(now, request, InitUse::Logs(waiter))
    }

    /// init's answer, for whoever waits for it.
    pub(super) fn init(&mut self, now: Now, id: u64, reply: InitReply) {
        let Some((used, _)) = self.init_uses.remove(&id) else {
            return;
        };
        let failure = match &reply {
            InitReply::Failed(sentence) => Some(problem(
                503,
                "refused",
                "The supervisor did not do it",
                sentence,
            )),
            InitReply::TooSoon { wait_s } => Some(Problem {
                retry_after_s: Some(*wait_s),
                ..problem(
                    429,
                    "too-soon",
                    "It was done a moment ago",
                    &format!(
                        "Each time costs the flash some of its life. Try again in {wait_s} s."
                    ),
                )
            }),
            _ => None,
        };
        if let InitReply::Services(list) = &reply {
            self.services_heard(now, list.clone());
        }
        match (used, reply) {
            (InitUse::Status(waiter, memory), _) => {
                // Also when init refused: the rest of the status is what the caller needs then.
                let status = self.status(now, memory);
                self.reply_value(waiter, &status);
            }
            // Also when init refused: the machine can be measured all the same.
            (InitUse::Measure(measure), _) => self.say(Output::Measure(measure)),
            (InitUse::Task(id), reply) => self.task_heard(now, id, Heard::Init(reply)),
            (InitUse::Search(waiter, search), InitReply::Logs(lines)) => {
                self.log_found(waiter, &search, lines);
            }
            (InitUse::LogStatistics(waiter), InitReply::LogStatistics(statistics)) => {
                self.reply_value(waiter, &super::log_calls::shown(statistics));
            }
            (InitUse::Services(waiter), InitReply::Services(_)) => {
                let list = self.service_list();
                self.reply_value(waiter, &list);
            }
            (InitUse::Logs(waiter), InitReply::Logs(lines)) => {
                let lines: Vec<LogEntry> = lines.into_iter().map(entry).collect();
                self.reply_value(waiter, &lines);
            }
            (InitUse::Act(waiter), InitReply::Done) => {
                // The roles are about to change: the next caller sees them anew.
                self.services = None;
                self.reply_value(waiter, &Done {});
            }
            (
                InitUse::Services(waiter)
                | InitUse::Logs(waiter)
                | InitUse::LogStatistics(waiter)
                | InitUse::Search(waiter, _)
                | InitUse::Act(waiter),
                _,
            ) => {
                let why = failure.unwrap_or_else(|| {
                    problem(
                        500,
                        "confused",
                        "The supervisor answered another question",
                        "",
                    )
                });
                self.reply(waiter, Err(why), None);
            }
        }
    }

    /// Answers those for whom init was too slow.
    pub(super) fn expire_init_uses(&mut self, now: Now) {
        let over: Vec<u64> = self
            .init_uses
            .iter()
            .filter(|(_, (_, until))| *until <= now.mono)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            let sentence = "it gave no answer in time".to_owned();
            self.init(now, id, InitReply::Failed(sentence));
        }
    }

    pub(super) fn reply_value<T: Serialize>(&mut self, waiter: Waiter, value: &T) {
        let result = to_value(value);
        self.reply(waiter, result, None);
    }

    pub(super) fn reply(
        &mut self,
        waiter: Waiter,
        result: Result<Value, Problem>,
        set_session: Option<String>,
    ) {
        let reply = Reply {
            id: waiter.id,
            result,
            set_session,
        };
        self.end_audit(waiter, &reply.result);
        self.keep_reply(waiter, &reply.result);
        match waiter.via {
            Via::Web if self.up.contains(&RoleName::Webd) => {
                self.say(Output::Webd(ToWebd::Reply(reply)));
            }
            Via::Web => {}
            Via::Control(connection) => self.say(Output::Control {
                connection,
                reply: Box::new(reply),
            }),
        }
    }
}

fn openapi() -> Result<Value, Problem> {
    serde_json::from_str(lintel_api::OPENAPI).map_err(|error| {
        log::error!("the OpenAPI document: {error}");
        problem(500, "internal", "The document cannot be read", "")
    })
}

/// A problem of RFC 9457.
pub(super) fn problem(status: u16, kind: &str, title: &str, detail: &str) -> Problem {
    Problem {
        status,
        kind: kind.to_owned(),
        title: title.to_owned(),
        detail: detail.to_owned(),
        retry_after_s: None,
        errors: Vec::new(),
    }
}

pub(super) fn bad_field(path: &str, reason: &str, hint: &str) -> Problem {
    Problem {
        errors: vec![FieldError {
            path: path.to_owned(),
            line: None,
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        }],
        ..problem(422, "bad-parameters", "A parameter is wrong", "")
    }
}

pub(super) fn data_failed() -> Problem {
    problem(
        503,
        "data-failed",
        "The box's storage cannot be used",
        "Until it is reset or replaced, the box can only be looked at and reset.",
    )
}

pub(super) fn cannot_store() -> Problem {
    problem(
        507,
        "cannot-store",
        "The box cannot write to its storage",
        "Nothing was changed. The status says what is wrong with the storage.",
    )
}

fn out_of_scope(needed: Option<Scope>) -> Problem {
    let detail = needed.map_or_else(
        || "No token does; log in with the password.".to_owned(),
        |scope| format!("It takes a token of scope {}, or a login.", scope.as_str()),
    );
    problem(403, "scope", "The token may not do this", &detail)
}

pub(super) fn away(role: &str) -> Problem {
    problem(
        503,
        "role-away",
        &format!("{role} is not running"),
        "lintel services shows how it ended.",
    )
}

pub(super) fn role(name: &str) -> Result<RoleName, Problem> {
    RoleName::SPAWNED
        .into_iter()
        .find(|role| role.as_str() == name)
        .ok_or_else(|| {
            bad_field(
                "name",
                &format!(
                    "there is no role {:?}",
                    name.chars().take(32).collect::<String>()
                ),
                "use netd, controld, wand, dhcpd, dnsd, timed or webd",
            )
        })
}

pub(super) fn entry(line: LogLine) -> LogEntry {
    LogEntry {
        uptime_ms: line.uptime_ms,
        unix_ms: line.unix_ms,
        role: line.role,
        level: line.level,
        text: line.text,
    }
}

/// Parameters as their type; null is an empty object.
pub(super) fn read<T: DeserializeOwned>(params: Value) -> Result<T, Problem> {
    let params = match params {
        Value::Null => Value::Object(serde_json::Map::new()),
        params => params,
    };
    serde_json::from_value(params).map_err(|error| {
        let mut problem = problem(422, "bad-parameters", "The parameters do not fit", "");
        problem.detail = error.to_string();
        problem
    })
}

pub(super) fn to_value<T: Serialize>(value: &T) -> Result<Value, Problem> {
    serde_json::to_value(value).map_err(|error| {
        log::error!("an answer could not be written: {error}");
        problem(500, "internal", "The answer could not be written", "")
    })
}
