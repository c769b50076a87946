//! netd: the only writer to the kernel's network state.
//!
//! It has no wish of its own but one: a box without a table of ours is closed before anything
//! else happens. Otherwise it looks, tells controld, does the steps that controld sends, and looks
//! again. After a restart nothing is lost: the kernel kept its state, and what was opened for other
//! roles is opened again by the next plan, since the look no longer shows it.

mod features;
mod hand_over;
mod preview;
#[cfg(test)]
mod tests;

use std::io;

use embassy_time::{Duration, Instant};
use lintel_ipc::init::ChannelKind;
use lintel_ipc::netd::{FromNetd, StepError, ToNetd};
use lintel_model::RoleName;
use lintel_model::observed::ObservedState;
use lintel_model::step::Plan;
use lintel_netlink::{Effect, Kernel, StepFailure, Watch};
use lintel_rt::channel::{Channel, ChannelError};
use lintel_rt::poller::{Event, Interest, Token};
use lintel_rt::role::{INIT_TOKEN, InitEvent, RoleContext, RoleError};
use lintel_rt::sandbox;

use hand_over::HandOvers;

/// From the first notice of a change to the look: long enough that a burst of notices, such as
/// those of our own steps, makes one look; short against the 100 ms that people notice.
const LOOK_DELAY: Duration = Duration::from_millis(10);
/// A look without any notice: whatever was missed is known after this time.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// The pause after a look that failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Sysctls that controld may have read with each look: a dozen for each of a hundred links.
const SYSCTLS_MAX: usize = 2048;

const SESSION: Token = 0;
const WATCH: [Token; 2] = [1, 2];
const TO_WAND: Token = 3;
const TO_DHCPD: Token = 4;

/// Runs the role.
///
/// # Errors
/// [`RoleError`] when init or the kernel's sockets fail; init starts the role anew.
pub fn main(ctx: RoleContext) -> Result<(), RoleError> {
    let mut netd = Netd::open(ctx)?;
    sandbox::enter(&netd.ctx)?;
    netd.serve()
}

struct Netd {
    ctx: RoleContext,
    kernel: Kernel,
    watch: Watch,
    session: Option<Channel<FromNetd, ToNetd>>,
    hand_overs: HandOvers,
    sysctls: Vec<String>,
    /// What controld was last told, without counters.
    told: Option<ObservedState>,
    look_at: Instant,
}

impl Netd {
    /// Opens the kernel's sockets and closes a box that has no rules yet.
    fn open(ctx: RoleContext) -> Result<Self, RoleError> {
        // The watch first: what changes after the first look is heard.
        let watch = Watch::open().map_err(failed("listening to the kernel"))?;
        let mut kernel = Kernel::open().map_err(failed("opening netlink sockets"))?;
        let closed = kernel
            .close_unless_ruled()
            .map_err(failed("closing the box before it has rules"))?;
        if closed {
            log::info!("closed: nothing enters or passes until the rules are in");
        }
        for (fd, token) in watch.fds().into_iter().zip(WATCH) {
            ctx.poller
                .add(fd, token, Interest::READ)
                .map_err(RoleError::io("watching the kernel"))?;
        }
        let look_at = ctx.clock.now();
        Ok(Self {
            ctx,
            kernel,
            watch,
            session: None,
            hand_overs: HandOvers::default(),
            sysctls: Vec::new(),
            told: None,
            look_at,
        })
    }

    fn serve(&mut self) -> Result<(), RoleError> {
        self.ctx.ready()?;
        let mut events = Vec::new();
        loop {
            // Without a session nobody wants a look.
            let deadline = self.session.is_some().then_some(self.look_at);
            self.ctx
                .poller
                .wait(deadline, &mut events)
                .map_err(RoleError::io("waiting"))?;
            for event in &events {
                if !self.on_event(event)? {
                    return Ok(());
                }
            }
            if self.session.is_some() && self.ctx.clock.now() >= self.look_at {
                self.look(Tell::Changes);
            }
            self.watch_writers()?;
        }
    }

    /// Returns whether to go on.
    fn on_event(&mut self, event: &Event) -> Result<bool, RoleError> {
        match event.token {
            INIT_TOKEN => return self.on_init(),
            SESSION => {
                if let Err(error) = self.on_session(event) {
                    log::info!("the session with controld ended: {error}");
                    self.session = None;
                }
            }
            TO_WAND => self.hand_overs.on_event(RoleName::Wand, event),
            TO_DHCPD => self.hand_overs.on_event(RoleName::Dhcpd, event),
            _ => self.on_notice()?,
        }
        Ok(true)
    }

    fn on_init(&mut self) -> Result<bool, RoleError> {
        while let Some(event) = self.ctx.on_init()? {
            match event {
                InitEvent::Stop => return Ok(false),
                InitEvent::Channel { with, kind, fd } => {
                    let token = match (with, kind) {
                        (RoleName::Controld, ChannelKind::Session) => SESSION,
                        (RoleName::Wand, ChannelKind::HandOver) => TO_WAND,
                        (RoleName::Dhcpd, ChannelKind::HandOver) => TO_DHCPD,
                        _ => {
                            log::warn!("init offered a channel to {with} that has no use");
                            continue;
                        }
                    };
                    // The old descriptor closes first and leaves the poller by that.
                    if token == SESSION {
                        self.session = None;
                    } else {
                        self.hand_overs.forget(with);
                    }
                    self.ctx
                        .poller
                        .add(&fd, token, Interest::READ)
                        .map_err(RoleError::io("watching a channel"))?;
                    if token == SESSION {
                        let channel =
                            Channel::new(fd).map_err(RoleError::io("taking a session"))?;
                        self.session = Some(channel);
                        self.look(Tell::Always);
                    } else {
                        let channel =
                            Channel::new(fd).map_err(RoleError::io("taking a channel"))?;
                        self.hand_overs.begin(with, channel);
                    }
                }
                InitEvent::Reply { .. }
                | InitEvent::Services(_)
                | InitEvent::Reset(_)
                | InitEvent::Data(_) => {}
            }
        }
        Ok(true)
    }

    fn on_session(&mut self, event: &Event) -> Result<(), ChannelError> {
        if event.writable
            && let Some(session) = &mut self.session
        {
            session.flush()?;
        }
        while let Some(session) = &mut self.session {
            let Some((message, _)) = session.recv()? else {
                break;
            };
            match message {
                ToNetd::Observe { mut sysctls } => {
                    sysctls.truncate(SYSCTLS_MAX);
                    self.sysctls = sysctls;
                    self.look(Tell::Always);
                }
                ToNetd::Preview { id, plan } => {
                    let preview = preview::of(&mut self.kernel, &plan, self.told.as_ref());
                    self.tell(&FromNetd::Previewed { id, preview });
                }
                ToNetd::Probe { table } => {
                    let lacks = features::lacks(&mut self.kernel, &table);
                    self.tell(&FromNetd::Lacks(lacks));
                }
                ToNetd::Apply { id, plan } => {
                    let applied = self.apply(id, &plan);
                    self.tell(&applied);
                    self.look(Tell::Always);
                }
            }
        }
        Ok(())
    }

    fn on_notice(&mut self) -> Result<(), RoleError> {
        let heard = self.watch.drain().map_err(failed("hearing of changes"))?;
        if heard.lost {
            log::info!("notices of changes were lost; looking at everything");
        }
        if heard.changed {
            self.look_at = self.look_at.min(self.ctx.clock.now() + LOOK_DELAY);
        }
        Ok(())
    }

    /// Does the steps in order up to the first that fails.
    fn apply(&mut self, id: u64, plan: &Plan) -> FromNetd {
        let writes_before = self.kernel.writes();
        let mut done = 0;
        let mut error = None;
        for step in &plan.steps {
            match self.kernel.execute(&step.action) {
                Ok(effect) => self.hand(effect),
                Err(failure) => {
                    let text = chain(&failure);
                    log::warn!("step {done} ({}) failed: {text}", step.reason);
                    error = Some(StepError {
                        step: done,
                        errno: failure.errno(),
                        text,
                    });
                    break;
                }
            }
            log::info!("done: {}", step.reason);
            done += 1;
        }
        FromNetd::Applied {
            id,
            done,
            error,
            kernel_writes: self.kernel.writes() - writes_before,
        }
    }

    fn hand(&mut self, effect: Effect) {
        match effect {
            Effect::Done => {}
            Effect::Opened { spec, index, fd } => self.hand_overs.open(spec, index, fd),
            Effect::Close(spec) => self.hand_overs.close(&spec),
        }
    }

    /// Looks at the kernel and tells controld, always or only of changes.
    fn look(&mut self, tell: Tell) {
        let now = self.ctx.clock.now();
        // What was noticed until here is seen by this look: our own steps cost no second one.
        if let Err(error) = self.watch.drain() {
            log::warn!("hearing of changes failed: {}", chain(&error));
        }
        let mut observed = match self.kernel.observe(&self.sysctls) {
            Ok(observed) => observed,
            Err(error) => {
                log::warn!("looking at the kernel failed: {}", chain(&error));
                self.look_at = now + RETRY_DELAY;
                return;
            }
        };
        self.look_at = now + LOOK_INTERVAL;
        self.hand_overs.keep_only(&observed.links);
        observed.sockets = self.hand_overs.specs();
        let without_counters = without_counters(&observed);
        let changed = self.told.as_ref() != Some(&without_counters);
        if tell == Tell::Always || changed {
            self.told = Some(without_counters);
            self.tell(&FromNetd::Observed(Box::new(observed)));
        }
    }

    fn tell(&mut self, message: &FromNetd) {
        if let Some(session) = &mut self.session
            && let Err(error) = session.send(message)
        {
            log::info!("the session with controld ended: {error}");
            self.session = None;
        }
    }

    /// Watches channels for room while something waits in them.
    fn watch_writers(&self) -> Result<(), RoleError> {
        if let Some(session) = &self.session {
            self.ctx
                .poller
                .modify(session, SESSION, interest(session.wants_write()))
                .map_err(RoleError::io("watching a channel"))?;
        }
        for (role, token) in [(RoleName::Wand, TO_WAND), (RoleName::Dhcpd, TO_DHCPD)] {
            if let Some(channel) = self.hand_overs.channel(role) {
                self.ctx
                    .poller
                    .modify(channel, token, interest(channel.wants_write()))
                    .map_err(RoleError::io("watching a channel"))?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tell {
    Always,
    Changes,
}

fn interest(write: bool) -> Interest {
    if write {
        Interest::BOTH
    } else {
        Interest::READ
    }
}

/// Counters grow all the time: that alone is no change.
fn without_counters(observed: &ObservedState) -> ObservedState {
    let mut observed = observed.clone();
    for link in &mut observed.links {
        (link.rx_bytes, link.tx_bytes) = (0, 0);
    }
    observed
}

/// An error with its causes, for the log and for people.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn failed<E>(what: &'static str) -> impl FnOnce(E) -> RoleError
where
    E: Into<StepFailure>,
{
    move |error| {
        let error: StepFailure = error.into();
        RoleError::Io {
            what,
            source: io::Error::other(error),
        }
    }
}
