//! Sockets, channels and clocks around the machine.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use lintel_api::types::Memory;
use lintel_ipc::call::Call;
use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::dnsd::{FromDnsd, ToDnsd};
use lintel_ipc::init::{ChannelKind, SocketName};
use lintel_ipc::netd::{FromNetd, ToNetd};
use lintel_ipc::timed::{FromTimed, ToTimed};
use lintel_ipc::wand::{FromWand, ToWand};
use lintel_ipc::webd::{FromWebd, ToWebd};
use lintel_model::RoleName;
use lintel_proto::rng::Rng;
use lintel_rt::channel::{Channel, ChannelError};
use lintel_rt::poller::{Interest, Poller, Token};
use lintel_rt::proc_text;
use lintel_rt::role::{INIT_TOKEN, InitEvent, RoleContext, RoleError};
use lintel_store::Store;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::control::{CONNECTION_TOKENS, Control, WATCH};
use super::core::{Core, Input, Now, Output, Via};
use super::machine::Machine;
use super::seal_thread::SealThread;

const NETD: Token = 1;
const WAND: Token = 2;
const DHCPD: Token = 3;
const DNSD: Token = 4;
const WEBD: Token = 5;
const CONTROL: Token = 6;
const TIMED: Token = 7;
const SEAL: Token = 8;

/// Most bindings made durable in one transaction; what waits beyond it comes with the next.
const BINDS_MAX: usize = 256;

/// Runs the role.
pub fn main(mut ctx: RoleContext) -> Result<(), RoleError> {
    let store = Store::open_or_restore(&ctx.start.data_dir, ctx.clock.unix_s());
    let own_uid = match ctx.start.run {
        Some(_) => nix::unistd::geteuid().as_raw(),
        None => 0,
    };
    let control = match ctx.take_socket(SocketName::Control) {
        Some(listener) => Some(
            Control::new(listener, own_uid).map_err(RoleError::io("taking the control socket"))?,
        ),
        None => None,
    };
    if let Some(control) = &control {
        ctx.poller
            .add(control.listener(), CONTROL, Interest::READ)
            .map_err(RoleError::io("watching the control socket"))?;
    }
    let seal = SealThread::new().map_err(RoleError::io("making a way for the seal's thread"))?;
    ctx.poller
        .add(&seal.wake, SEAL, Interest::READ)
        .map_err(RoleError::io("watching the seal's thread"))?;
    let meminfo = File::open("/proc/meminfo").ok();
    let rng = Kernel::new();
    let now = now(&ctx);
    let core = Core::new(now, ctx.start.clone(), store, Box::new(rng))
        .map_err(|error| RoleError::io("making a store in memory")(std::io::Error::other(error)))?;
    lintel_rt::sandbox::enter(&ctx)?;
    ctx.ready()?;
    let shell = Shell {
        machine: Machine::new(&ctx.start.data_dir),
        ctx,
        core,
        control,
        meminfo,
        seal,
        sessions: Sessions::default(),
    };
    shell.run()
}

/// The role's own channels.
#[derive(Default)]
struct Sessions {
    netd: Option<Channel<ToNetd, FromNetd>>,
    wand: Option<Channel<ToWand, FromWand>>,
    dhcpd: Option<Channel<ToDhcpd, FromDhcpd>>,
    dnsd: Option<Channel<ToDnsd, FromDnsd>>,
    timed: Option<Channel<ToTimed, FromTimed>>,
    webd: Option<Channel<ToWebd, FromWebd>>,
}

struct Shell {
    ctx: RoleContext,
    core: Core,
    control: Option<Control>,
    meminfo: Option<File>,
    seal: SealThread,
    machine: Machine,
    sessions: Sessions,
}

impl Shell {
    fn run(mut self) -> Result<(), RoleError> {
        let mut events = Vec::new();
        loop {
            let control = self.control.as_ref().and_then(Control::deadline);
            let deadline = self.core.deadline().into_iter().chain(control).min();
            self.ctx
                .poller
                .wait(deadline, &mut events)
                .map_err(RoleError::io("waiting for events"))?;
            for event in &events {
                let go_on = match event.token {
                    INIT_TOKEN => self.init()?,
                    token => {
                        self.event(token);
                        true
                    }
                };
                if !go_on || !self.drain()? {
                    return Ok(());
                }
            }
            let now = now(&self.ctx);
            self.core.handle_timeout(now);
            if let Some(control) = &mut self.control {
                control.expire(&self.ctx.poller, now.mono);
            }
            if !self.drain()? {
                return Ok(());
            }
        }
    }

    /// False when the role shall end.
    fn init(&mut self) -> Result<bool, RoleError> {
        while let Some(event) = self.ctx.on_init()? {
            let now = now(&self.ctx);
            match event {
                InitEvent::Channel {
                    with,
                    kind: ChannelKind::Session,
                    fd,
                } => {
                    let poller = &self.ctx.poller;
                    let sessions = &mut self.sessions;
                    match with {
                        RoleName::Netd => sessions.netd = open(poller, NETD, fd)?,
                        RoleName::Wand => sessions.wand = open(poller, WAND, fd)?,
                        RoleName::Dhcpd => sessions.dhcpd = open(poller, DHCPD, fd)?,
                        RoleName::Dnsd => sessions.dnsd = open(poller, DNSD, fd)?,
                        RoleName::Timed => sessions.timed = open(poller, TIMED, fd)?,
                        RoleName::Webd => sessions.webd = open(poller, WEBD, fd)?,
                        RoleName::Init | RoleName::Controld => continue,
                    }
                    self.core.handle(now, Input::Session(with));
                }
                InitEvent::Channel { .. } => {}
                InitEvent::Reply { id, reply } => self.core.handle(now, Input::Init { id, reply }),
                InitEvent::Services(list) => self.core.handle(now, Input::Services(list)),
                InitEvent::Reset(reset) => self.core.handle(now, Input::Reset(reset)),
                InitEvent::Data(state) => self.core.handle(now, Input::Data(state)),
                InitEvent::Stop => {
                    self.core.handle(now, Input::Stop);
                    self.drain()?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn event(&mut self, token: Token) {
        let poller = &self.ctx.poller;
        let core = &mut self.core;
        let clock = now(&self.ctx);
        let sessions = &mut self.sessions;
        match token {
            NETD => pump(
                poller,
                token,
                &mut sessions.netd,
                RoleName::Netd,
                core,
                clock,
                Input::Netd,
            ),
            WAND => pump(
                poller,
                token,
                &mut sessions.wand,
                RoleName::Wand,
                core,
                clock,
                Input::Wand,
            ),
            DNSD => pump(
                poller,
                token,
                &mut sessions.dnsd,
                RoleName::Dnsd,
                core,
                clock,
                Input::Dnsd,
            ),
            TIMED => pump(
                poller,
                token,
                &mut sessions.timed,
                RoleName::Timed,
                core,
                clock,
                Input::Timed,
            ),
            DHCPD => {
                // All that is there now shares one transaction: while one flush runs, the next
                // group gathers in the socket.
                let (group, end) = take(poller, token, &mut sessions.dhcpd, BINDS_MAX);
                if !group.is_empty() {
                    core.handle(clock, Input::Dhcpd(group));
                }
                if end {
                    core.handle(clock, Input::SessionEnded(RoleName::Dhcpd));
                }
            }
            WEBD => {
                let memory = self.meminfo.as_ref().and_then(read_memory);
                let input = |message| match message {
                    FromWebd::Call(call) => Input::Call {
                        via: Via::Web,
                        call,
                        memory,
                    },
                    FromWebd::Streams(streams) => Input::Streams(streams),
                };
                pump(
                    poller,
                    token,
                    &mut sessions.webd,
                    RoleName::Webd,
                    core,
                    clock,
                    input,
                );
            }
            SEAL => {
                if let Some(done) = self.seal.take() {
                    core.handle(clock, Input::Sealed(done));
                }
            }
            CONTROL => {
                if let Some(control) = &mut self.control {
                    control.accept(poller, clock.mono);
                }
            }
            connection if connection >= CONNECTION_TOKENS => {
                let call = self
                    .control
                    .as_mut()
                    .and_then(|control| control.ready(poller, connection, clock.mono));
                if let Some(call) = call {
                    let input = self.called(connection, call);
                    self.core.handle(clock, input);
                }
                self.forget_watchers(clock);
            }
            _ => {}
        }
    }

    /// What a call of the control socket is to the machine.
    fn called(&mut self, connection: Token, call: Call) -> Input {
        if call.method == WATCH {
            if let Some(control) = &mut self.control {
                control.watch(connection);
            }
            return Input::Watch {
                connection,
                id: call.id,
                last: call.params.get("last_event_id").and_then(Value::as_u64),
            };
        }
        Input::Call {
            via: Via::Control(connection),
            call,
            memory: self.meminfo.as_ref().and_then(read_memory),
        }
    }

    fn forget_watchers(&mut self, now: Now) {
        let gone = self.control.as_mut().map(Control::gone);
        for connection in gone.unwrap_or_default() {
            self.core.handle(now, Input::Unwatch { connection });
        }
    }

    /// Sends what the machine says. False when the role shall end.
    fn drain(&mut self) -> Result<bool, RoleError> {
        while let Some(output) = self.core.poll() {
            let poller = &self.ctx.poller;
            let sessions = &mut self.sessions;
            let lost = match output {
                Output::Netd(m) => tell(poller, NETD, &mut sessions.netd, RoleName::Netd, &m),
                Output::Wand(m) => tell(poller, WAND, &mut sessions.wand, RoleName::Wand, &m),
                Output::Dhcpd(m) => tell(poller, DHCPD, &mut sessions.dhcpd, RoleName::Dhcpd, &m),
                Output::Dnsd(m) => tell(poller, DNSD, &mut sessions.dnsd, RoleName::Dnsd, &m),
                Output::Timed(m) => tell(poller, TIMED, &mut sessions.timed, RoleName::Timed, &m),
                Output::Webd(m) => tell(poller, WEBD, &mut sessions.webd, RoleName::Webd, &m),
                Output::Init { id, request } => {
                    self.ctx.request(id, request)?;
                    None
                }
                Output::Control { connection, reply } => {
                    let next = self
                        .control
                        .as_mut()
                        .and_then(|control| control.reply(poller, connection, &reply));
                    if let Some(call) = next {
                        let input = self.called(connection, call);
                        self.core.handle(now(&self.ctx), input);
                    }
                    None
                }
                Output::Measure(measure) => {
                    let figures = self.machine.read();
                    let measured = Input::Measured { measure, figures };
                    self.core.handle(now(&self.ctx), measured);
                    None
                }
                Output::Events(events) => {
                    if let Some(control) = &mut self.control {
                        control.tell(poller, &events);
                    }
                    self.forget_watchers(now(&self.ctx));
                    None
                }
                Output::Seal(job) => {
                    self.seal.begin(*job);
                    None
                }
                Output::Restart => {
                    log::info!("starting anew with what the storage holds now");
                    return Ok(false);
                }
            };
            if let Some(role) = lost {
                let now = now(&self.ctx);
                self.core.handle(now, Input::SessionEnded(role));
            }
        }
        Ok(true)
    }
}

fn now(ctx: &RoleContext) -> Now {
    Now {
        mono: ctx.clock.now(),
        unix_s: ctx.clock.unix_s(),
    }
}

fn open<Tx: Serialize, Rx: DeserializeOwned>(
    poller: &Poller,
    token: Token,
    fd: OwnedFd,
) -> Result<Option<Channel<Tx, Rx>>, RoleError> {
    let channel = Channel::new(fd).map_err(RoleError::io("taking a session's channel"))?;
    poller
        .add(&channel, token, Interest::READ)
        .map_err(RoleError::io("watching a session's channel"))?;
    Ok(Some(channel))
}

/// Messages that wait, at most `max`, and whether the session has ended.
fn take<Tx: Serialize, Rx: DeserializeOwned>(
    poller: &Poller,
    token: Token,
    slot: &mut Option<Channel<Tx, Rx>>,
    max: usize,
) -> (Vec<Rx>, bool) {
    let mut messages = Vec::new();
    let Some(channel) = slot else {
        return (messages, false);
    };
    let result = channel.flush().and_then(|()| {
        while messages.len() < max {
            match channel.recv()? {
                Some((message, _)) => messages.push(message),
                None => break,
            }
        }
        Ok(channel.watch(poller, token)?)
    });
    if let Err(error) = result {
        end(token, &error);
        *slot = None;
        return (messages, true);
    }
    (messages, false)
}

fn pump<Tx: Serialize, Rx: DeserializeOwned>(
    poller: &Poller,
    token: Token,
    slot: &mut Option<Channel<Tx, Rx>>,
    role: RoleName,
    core: &mut Core,
    now: Now,
    input: impl Fn(Rx) -> Input,
) {
    let (messages, ended) = take(poller, token, slot, BINDS_MAX);
    for message in messages {
        core.handle(now, input(message));
    }
    if ended {
        core.handle(now, Input::SessionEnded(role));
    }
}

/// Sends; tells which session ended over it.
fn tell<Tx: Serialize, Rx: DeserializeOwned>(
    poller: &Poller,
    token: Token,
    slot: &mut Option<Channel<Tx, Rx>>,
    role: RoleName,
    message: &Tx,
) -> Option<RoleName> {
    let channel = slot.as_mut()?;
    let sent = channel
        .send(message)
        .and_then(|()| Ok(channel.watch(poller, token)?));
    if let Err(error) = sent {
        end(token, &error);
        *slot = None;
        return Some(role);
    }
    None
}

fn end(token: Token, error: &ChannelError) {
    match error {
        ChannelError::Closed => log::debug!("session {token} ended"),
        error => log::warn!("session {token} ended: {error}"),
    }
}

/// `MemTotal` and `MemAvailable`, from a file that was opened before the sandbox closed.
fn read_memory(file: &File) -> Option<Memory> {
    let mut buffer = [0; 512];
    let n = file.read_at(&mut buffer, 0).ok()?;
    let text = std::str::from_utf8(buffer.get(..n)?).ok()?;
    Some(Memory {
        total_kib: proc_text::number(text, "MemTotal:")?,
        available_kib: proc_text::number(text, "MemAvailable:")?,
    })
}

/// The kernel's generator.
pub(super) struct Kernel(SystemRandom);

impl Kernel {
    pub(super) fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Rng for Kernel {
    fn fill(&mut self, bytes: &mut [u8]) {
        // getrandom blocks only before the kernel's pool is seeded, which init waits for, and
        // fails only where the call does not exist. A token of zeros must not follow from that.
        while self.0.fill(bytes).is_err() {
            log::error!("the kernel gives no random numbers");
        }
    }
}
