//! Messages between roles, as a role that was taken over might send them.

use std::fmt::Debug;

use arbitrary::Unstructured;
use lintel_ipc::call::{Call, Caller, FieldError, Origin, Problem, Reply};
use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::dnsd::{FromDnsd, ToDnsd};
use lintel_ipc::init::{FromInit, InitReply, InitRequest, LogLine, ToInit};
use lintel_ipc::netd::{FromNetd, HandOver, StepError, ToNetd};
use lintel_ipc::timed::{FromTimed, ToTimed};
use lintel_ipc::wand::{FromWand, ToWand};
use lintel_ipc::webd::{FromWebd, ToWebd};
use lintel_model::RoleName;
use lintel_model::resolver::DnsCounters;
use lintel_plan::diff;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::plan::World;
use crate::Tally;
use crate::entropy::{any, below, ipv4, number, octets, pick, text};

/// A message that is read is written and read the same, whatever it says.
pub fn ipc(data: &[u8]) -> Tally {
    let read = [
        again::<FromDhcpd>(data),
        again::<ToDhcpd>(data),
        again::<FromDnsd>(data),
        again::<ToDnsd>(data),
        again::<FromInit>(data),
        again::<ToInit>(data),
        again::<FromNetd>(data),
        again::<ToNetd>(data),
        again::<HandOver>(data),
        again::<FromWand>(data),
        again::<ToWand>(data),
        again::<FromTimed>(data),
        again::<ToTimed>(data),
        again::<FromWebd>(data),
        again::<ToWebd>(data),
        again::<Call>(data),
        again::<Reply>(data),
    ];
    Tally::one(read.contains(&true))
}

fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> bool {
    let Ok(message) = serde_json::from_slice::<T>(data) else {
        return false;
    };
    let written = serde_json::to_vec(&message).expect("what was read can be written");
    let read: T = serde_json::from_slice(&written).expect("what was written is read");
    assert_eq!(read, message);
    true
}

/// A message of any role.
pub fn message_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let counts = |u: &mut Unstructured<'_>| {
        (0..below(u, 3))
            .map(|_| (text(u, b"abc-", 8), u64::from(number(u))))
            .collect::<Vec<_>>()
    };
    let written = match below(u, 12) {
        0 => {
            let (world, kernel) = World::with_kernel(u);
            let plan = diff(&world.wish(&kernel), &kernel.state);
            serde_json::to_vec(&ToNetd::Apply { id: any(u), plan })
        }
        1 => {
            let (_, kernel) = World::with_kernel(u);
            serde_json::to_vec(&FromNetd::Observed(Box::new(kernel.state)))
        }
        2 => serde_json::to_vec(&FromNetd::Applied {
            id: any(u),
            done: number(u),
            error: any::<bool>(u).then(|| StepError {
                step: number(u),
                errno: any(u),
                text: text(u, b"no \"", 8),
            }),
            kernel_writes: any(u),
        }),
        3 => {
            let (world, kernel) = World::with_kernel(u);
            let resolved = world.resolved(&kernel);
            match below(u, 3) {
                0 => serde_json::to_vec(&ToDnsd::Spec(resolved.dns)),
                1 => serde_json::to_vec(&ToWand::Spec {
                    spec: resolved.wan,
                    lease: None,
                }),
                _ => serde_json::to_vec(&ToDhcpd::Snapshot {
                    spec: resolved.dhcp,
                    bindings: Vec::new(),
                    start_unix_s: any(u),
                }),
            }
        }
        4 => serde_json::to_vec(&FromDhcpd::Dropped(counts(u))),
        5 => serde_json::to_vec(&FromDnsd::Statistics(DnsCounters {
            queries: any(u),
            dropped: counts(u),
            ..DnsCounters::default()
        })),
        6 => {
            let request = match below(u, 3) {
                0 => InitRequest::Services,
                1 => InitRequest::Logs {
                    role: Some(RoleName::Dnsd),
                    lines_max: number(u),
                },
                _ => InitRequest::Restart {
                    role: RoleName::Webd,
                },
            };
            serde_json::to_vec(&ToInit::Request {
                id: any(u),
                request,
            })
        }
        7 => {
            let line = LogLine {
                seq: any(u),
                uptime_ms: any(u),
                unix_ms: any(u),
                role: RoleName::Wand,
                level: "info".to_owned(),
                text: String::from_utf8_lossy(&octets(u, 20)).into_owned(),
            };
            let reply = InitReply::Logs(vec![line]);
            serde_json::to_vec(&FromInit::Reply { id: any(u), reply })
        }
        8 => serde_json::to_vec(&FromWebd::Call(Call {
            id: any(u),
            method: pick(u, &["status", "dhcp.leases.list", "config.apply", ""]).to_owned(),
            params: serde_json::json!({ "address": ipv4(u).to_string(), "n": number(u) }),
            caller: Caller {
                origin: pick(u, &[Origin::Web, Origin::Local]),
                address: any::<bool>(u).then(|| ipv4(u).into()),
                link_index: any(u),
                token: any::<bool>(u).then(|| text(u, b"0af", 40)),
            },
        })),
        9 => serde_json::to_vec(&FromWand::State {
            link: "eth0".parse().expect("a name"),
            state: text(u, b"abc", 8),
            text: text(u, b"abc \\\"", 8),
        }),
        10 => serde_json::to_vec(&ToDhcpd::Forget { address: ipv4(u) }),
        _ => serde_json::to_vec(&Reply {
            id: any(u),
            result: Err(Problem {
                status: any(u),
                kind: text(u, b"abc", 8),
                errors: vec![FieldError {
                    line: any(u),
                    ..FieldError::default()
                }],
                ..Problem::default()
            }),
            set_session: None,
        }),
    };
    written.expect("a message can be written")
}
