//! dnsd on loopback, judged by dig and kdig, with unbound, dnsmasq and scripted servers upstream.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests run programs and wait
#![allow(clippy::unwrap_used, clippy::panic)] // outside #[test] functions clippy asks for it

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lintel_ipc::dnsd::{FromDnsd, ToDnsd};
use lintel_ipc::init::{ChannelKind, FromInit, RunStart, SocketName, Start, ToInit};
use lintel_model::RoleName;
use lintel_model::resolver::DnsCounters;
use lintel_model::services::{DnsSpec, HostRecord};
use lintel_rt::channel::{Channel, pair};
use lintel_rt::role::RoleContext;
use lintel_rt::sockets::{Addresses, open};
use lintel_wire::dns::{Class, Flags, Name, Packet, Rcode, Rdata, RecordRepr, Repr};
use netns_tests::Workdir;

mod figures;
mod judged;
mod role;
mod scripted;
mod servers;

use role::*;
use servers::*;

/// Set for the process that is the role.
const ROLE_PROCESS: &str = "LINTEL_TEST_ROLE_PROCESS";

/// Longer than any wait below takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Not a test: the process that [`Dnsd::start`] runs.
#[test]
#[ignore = "what the tests run as dnsd"]
fn role_process() {
    // Without a parent that put a channel there, descriptor 3 is somebody else's.
    if std::env::var_os(ROLE_PROCESS).is_none() {
        return;
    }
    lintel_roles::dnsd::main(RoleContext::from_init().unwrap()).unwrap();
}
