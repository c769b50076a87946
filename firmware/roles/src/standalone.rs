//! `lintel run ROLE`: one role alone, for benches and debugging.
//!
//! This process stands in for init, controld and netd: it opens the role's sockets, resolves
//! what the role shall do from the file and the links that are there, and answers what a role
//! cannot go on without (a binding is stored before it is called durable). It changes nothing
//! in the kernel, so the household's link is one named `br-lan` that somebody made before.
//! What the role says is printed, one line of JSON a message.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use embassy_time::{Duration, Instant};
use lintel_ipc::call::{Call, Problem, Reply};
use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::dnsd::ToDnsd;
use lintel_ipc::init::{ChannelKind, FromInit, RunStart, Start, ToInit};
use lintel_ipc::netd::{HandOver, ToNetd};
use lintel_ipc::timed::ToTimed;
use lintel_ipc::wand::ToWand;
use lintel_ipc::webd::{FromWebd, ToWebd};
use lintel_model::RoleName;
use lintel_model::board::BoardSpec;
use lintel_model::desired::SocketKind;
use lintel_model::facts::{DataState, Facts};
use lintel_model::services::{NtpSpec, Resolved};
use lintel_netlink::kernel::Kernel;
use lintel_rt::channel::{Channel, ChannelError, pair};
use lintel_rt::clock::Clock;
use lintel_rt::poller::{Interest, Poller};
use lintel_rt::spawn::{self, Isolation, Pace};
use lintel_rt::table::{RolePolicy, policy};
use lintel_rt::{logger, sockets};
use lintel_store::Store;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use crate::controld::certificate::ephemeral;
use crate::init::run::{Prepared, RunArgs, RunError, prepare};
use crate::init::shell::chain;
use crate::init::{boot_id, exe, version};
use crate::now::Now;

/// From the signal to the kill; the role promises two seconds.
const STOP_MAX: Duration = Duration::from_secs(3);
/// Longest message printed whole; a look at the kernel is longer.
const PRINT_BYTES_MAX: usize = 2000;

const SIGNALS: u64 = 0;
const INIT: u64 = 1;
const SESSION: u64 = 2;
const PIPE: u64 = 3;

/// Runs the role until it ends or a signal comes; true when it ended well.
pub fn run(role: RoleName, args: &RunArgs) -> Result<bool, RunError> {
    let prepared = prepare(args)?;
    logger::install(log::LevelFilter::Info);
    let policy = policy(role).ok_or_else(|| RunError::Io {
        what: format!("{role} cannot run alone"),
        source: io::ErrorKind::Unsupported.into(),
    })?;
    let failed = |source| RunError::Io {
        what: format!("running {role}"),
        source,
    };
    let mut opened = Vec::new();
    let mut errors = Vec::new();
    for &name in policy.sockets {
        match sockets::open(name, &prepared.addresses) {
            Ok(fd) => opened.push(fd),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(RunError::Sockets(errors));
    }
    let mut stage = Stage::start(policy, prepared, opened).map_err(failed)?;
    stage.run().map_err(failed)
}

struct Stage {
    role: RoleName,
    pid: Pid,
    poller: Poller,
    signals: SignalFd,
    init: Channel<FromInit, ToInit>,
    session: Option<Channel<Value, Value>>,
    /// Kept so that the role does not see it close.
    _hand_over: Channel<HandOver, ()>,
    pipe: Option<File>,
    store: Option<Store>,
    kill_at: Option<Instant>,
}

impl Stage {
    fn start(
        policy: &'static RolePolicy,
        prepared: Prepared,
        opened: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        spawn::reserve_init_fd()?;
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
            set.add(signal);
        }
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let role = policy.role;
        let store = match role {
            RoleName::Dhcpd => Some(Store::open(&prepared.data_dir).map_err(io::Error::other)?),
            _ => None,
        };
        let resolved = resolved(&prepared);
        let mut words = first_words(role, &resolved, store.as_ref())?;
        if role == RoleName::Webd {
            let identity = ephemeral(&prepared.config, Clock.unix_s()).map_err(io::Error::other)?;
            words.push(value(&ToWebd::Tls(identity))?);
        }
        let (ours, theirs) = pair()?;
        let (log_write, log_read) = spawn::log_pipe()?;
        let mut init: Channel<FromInit, ToInit> = Channel::new(ours)?;
        let start = start_message(policy, prepared);
        let isolation = match &start.run {
            Some(run) if !run.sandbox => Isolation::Off,
            _ => Isolation::Run,
        };
        let send = |error: ChannelError| io::Error::other(error);
        init.send_with(&FromInit::Start(Box::new(start)), opened)
            .map_err(send)?;
        let (mut session, far) = session(RoleName::Controld, ChannelKind::Session)?;
        init.send_with(&far.0, vec![far.1]).map_err(send)?;
        let (mut hand_over, far) = self::session(RoleName::Netd, ChannelKind::HandOver)?;
        init.send_with(&far.0, vec![far.1]).map_err(send)?;
        for message in words {
            session.send(&message).map_err(send)?;
        }
        hand_sockets_over(role, &resolved, &mut hand_over);
        let poller = Poller::new()?;
        poller.add(&signals, SIGNALS, Interest::READ)?;
        poller.add(&init, INIT, Interest::READ)?;
        poller.add(&session, SESSION, Interest::READ)?;
        poller.add(&log_read, PIPE, Interest::READ)?;
        let pid = spawn::spawn(&exe(), policy, isolation, Pace::Usual, theirs, log_write)?;
        Ok(Self {
            role,
            pid: Pid::from_raw(pid.try_into().map_err(io::Error::other)?),
            poller,
            signals,
            init,
            session: Some(session),
            _hand_over: hand_over,
            pipe: Some(log_read.into()),
            store,
            kill_at: None,
        })
    }

    fn run(&mut self) -> io::Result<bool> {
        let mut events = Vec::new();
        loop {
            self.poller.wait(self.kill_at, &mut events)?;
            for event in &events {
                match event.token {
                    SIGNALS => self.on_signals()?,
                    INIT => self.on_init()?,
                    SESSION => self.on_session()?,
                    _ => self.on_pipe(),
                }
            }
            if self.kill_at.is_some_and(|at| at <= Clock.now()) {
                self.kill_at = None;
                kill(self.pid, Signal::SIGKILL)?;
            }
            if let Some(well) = self.ended()? {
                self.on_pipe();
                return Ok(well);
            }
        }
    }

    fn ended(&self) -> io::Result<Option<bool>> {
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, status) => {
                log::info!("{} ended with status {status}", self.role);
                Ok(Some(status == 0))
            }
            WaitStatus::Signaled(_, signal, _) => {
                log::error!("{} was killed by {signal}", self.role);
                Ok(Some(false))
            }
            _ => Ok(None),
        }
    }

    fn on_signals(&mut self) -> io::Result<()> {
        while let Some(info) = self.signals.read_signal()? {
            if info.ssi_signo != Signal::SIGCHLD as u32 && self.kill_at.is_none() {
                self.kill_at = Some(Clock.now() + STOP_MAX);
                // A role that is gone already is seen by `ended`.
                let _ = self.init.send(&FromInit::Stop);
            }
        }
        Ok(())
    }

    fn on_init(&mut self) -> io::Result<()> {
        loop {
            match self.init.recv() {
                Ok(Some((ToInit::Ready, _))) => print("ready", self.role, &Value::Null),
                Ok(Some((message, _))) => log::info!("to init: {message:?}"),
                Ok(None) => return Ok(()),
                Err(ChannelError::Closed) => return self.poller.remove(&self.init),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    fn on_session(&mut self) -> io::Result<()> {
        let mut binds = Vec::new();
        while let Some(session) = &mut self.session {
            match session.recv() {
                Ok(Some((message, _))) => {
                    print("says", self.role, &message);
                    binds.push(message);
                }
                Ok(None) => break,
                Err(ChannelError::Closed) => self.session = None,
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let answers = match self.role {
            RoleName::Dhcpd => self.bind(binds)?,
            RoleName::Webd => refuse(binds)?,
            _ => Vec::new(),
        };
        for answer in answers {
            if let Some(session) = &mut self.session {
                session.send(&answer).map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    /// All that came at once in one transaction, as controld does it.
    fn bind(&mut self, messages: Vec<Value>) -> io::Result<Vec<Value>> {
        let mut tokens = Vec::new();
        let mut bindings = Vec::new();
        for message in messages {
            if let FromDhcpd::Bind { token, binding, .. } = serde_json::from_value(message)? {
                tokens.push(token);
                bindings.push(binding);
            }
        }
        let Some(store) = &mut self.store else {
            return Ok(Vec::new());
        };
        let stored = store.put_bindings(&bindings, Clock.unix_s());
        if let Err(error) = &stored {
            log::error!("{}", chain(error));
        }
        tokens
            .into_iter()
            .map(|token| match &stored {
                Ok(()) => value(&ToDhcpd::Durable { token }),
                Err(_) => value(&ToDhcpd::NotDurable { token }),
            })
            .collect()
    }

    fn on_pipe(&mut self) {
        let mut octets = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut octets) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    // Nobody is left to tell when standard error is gone.
                    let _ = io::stderr().write_all(octets.get(..n).unwrap_or_default());
                }
                Err(_) => break,
            }
        }
    }
}

/// What the role shall do, from the file and the links that are there now.
fn resolved(prepared: &Prepared) -> Resolved {
    let links = Kernel::open()
        .and_then(|mut kernel| kernel.observe(&[]))
        .map(|observed| observed.links)
        .unwrap_or_else(|error| {
            log::warn!("no look at the links: {}", chain(&error));
            Vec::new()
        });
    let facts = Facts {
        links,
        detection_over: true,
        run: true,
        ..Facts::default()
    };
    let resolved = lintel_plan::resolve(&prepared.config, &facts);
    for notice in &resolved.notices {
        log::info!("{}", notice.text);
    }
    resolved
}

fn start_message(policy: &RolePolicy, prepared: Prepared) -> Start {
    Start {
        role: policy.role,
        run: Some(RunStart {
            sandbox: prepared.config.run.as_ref().is_none_or(|run| run.sandbox),
            config: prepared.text,
        }),
        data_dir: prepared.data_dir,
        run_dir: prepared.addresses.run_dir,
        data: DataState::Good,
        board: BoardSpec::default(),
        factory_config: String::new(),
        version: version(),
        boot_id: boot_id(),
        sockets: policy.sockets.to_vec(),
        test: false,
        reset: None,
    }
}

type Far = (FromInit, OwnedFd);

/// A pair: our end, and the message that brings the other.
fn session<Tx: serde::Serialize, Rx: serde::de::DeserializeOwned>(
    with: RoleName,
    kind: ChannelKind,
) -> io::Result<(Channel<Tx, Rx>, Far)> {
    let (ours, theirs) = pair()?;
    let message = FromInit::Channel { with, kind };
    Ok((Channel::new(ours)?, (message, theirs)))
}

fn value(message: &impl serde::Serialize) -> io::Result<Value> {
    Ok(serde_json::to_value(message)?)
}

/// What controld would send at the start of the session.
fn first_words(
    role: RoleName,
    resolved: &Resolved,
    store: Option<&Store>,
) -> io::Result<Vec<Value>> {
    let word = match role {
        RoleName::Dhcpd => value(&ToDhcpd::Snapshot {
            spec: resolved.dhcp.clone(),
            bindings: match store {
                Some(store) => store.bindings().map_err(io::Error::other)?,
                None => Vec::new(),
            },
            start_unix_s: Now {
                mono: Clock.now(),
                unix_s: Clock.unix_s(),
            }
            .start_unix_s(),
        })?,
        RoleName::Dnsd => value(&ToDnsd::Spec(resolved.dns.clone()))?,
        RoleName::Wand => value(&ToWand::Spec {
            spec: resolved.wan.clone(),
            lease: None,
        })?,
        RoleName::Timed => value(&ToTimed::Spec {
            // Whoever runs it alone means the servers in the file.
            spec: NtpSpec {
                online: true,
                ..resolved.ntp.clone()
            },
            drift: None,
        })?,
        RoleName::Webd => value(&ToWebd::Spec(resolved.web.clone()))?,
        RoleName::Netd => value(&ToNetd::Observe {
            sysctls: Vec::new(),
        })?,
        RoleName::Controld | RoleName::Init => return Ok(Vec::new()),
    };
    Ok(vec![word])
}

/// The packet sockets that netd would open; without the right to, the role goes without.
fn hand_sockets_over(role: RoleName, resolved: &Resolved, channel: &mut Channel<HandOver, ()>) {
    let wanted = match role {
        RoleName::Dhcpd => SocketKind::DhcpServer,
        RoleName::Wand => SocketKind::DhcpClient,
        _ => return,
    };
    for spec in &resolved.kernel.sockets {
        if spec.kind != wanted {
            continue;
        }
        let name = spec.link.as_str();
        let index = match nix::net::if_::if_nametoindex(name) {
            Ok(index) => index,
            Err(errno) => {
                log::warn!("{name}: {errno}");
                continue;
            }
        };
        match lintel_netlink::packet::open(spec.kind, index) {
            Ok(fd) => {
                let message = HandOver::Socket {
                    spec: spec.clone(),
                    index,
                };
                if let Err(error) = channel.send_with(&message, vec![fd]) {
                    log::error!("{}", chain(&error));
                }
            }
            Err(error) => log::warn!("no {} socket on {name}: {error}", spec.kind),
        }
    }
}

/// There is nobody who could answer a call.
fn refuse(messages: Vec<Value>) -> io::Result<Vec<Value>> {
    messages
        .into_iter()
        .filter_map(|message| match serde_json::from_value(message) {
            Ok(FromWebd::Call(call)) => Some(Ok(call)),
            Ok(FromWebd::Streams(_)) => None,
            Err(error) => Some(Err(error.into())),
        })
        .map(|call: io::Result<Call>| {
            let call = call?;
            value(&ToWebd::Reply(Reply {
                id: call.id,
                result: Err(Problem {
                    status: 503,
                    kind: "alone".to_owned(),
                    title: "The web front runs alone: nothing answers behind it.".to_owned(),
                    ..Problem::default()
                }),
                set_session: None,
            }))
        })
        .collect()
}

fn print(verb: &str, role: RoleName, message: &Value) {
    let mut text = match message {
        Value::Null => String::new(),
        message => message.to_string(),
    };
    if text.len() > PRINT_BYTES_MAX {
        text = format!("... {} octets", text.len());
    }
    // Nobody is left to tell when standard output is gone.
    let _ = writeln!(io::stdout(), "{role} {verb} {text}");
}
