//! netd: looks at the kernel, does steps one by one.

use embassy_time::Duration;
use lintel_ipc::netd::{FromNetd, HandOver, StepError, ToNetd};
use lintel_model::RoleName;
use lintel_model::desired::{SocketKind, SocketSpec};
use lintel_model::nft::Transaction;
use lintel_model::observed::ObservedState;
use lintel_model::step::{Action, Hazard, Plan, Step};

use super::Router;
use crate::world::{Event, Outside, Said};

/// From a change to the look, as netd has it.
const LOOK_DELAY: Duration = Duration::from_millis(10);
/// A look without any notice.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// The role.
#[derive(Debug, Default)]
pub struct Netd {
    lives: u64,
    alive: bool,
    sysctls: Vec<String>,
    told: Option<ObservedState>,
    work: Option<Work>,
    /// Messages that came while a plan was done.
    waiting: Vec<ToNetd>,
}

#[derive(Debug)]
struct Work {
    id: u64,
    plan: Plan,
    done: usize,
}

impl Netd {
    /// Its life, when it runs.
    pub fn life(&self) -> Option<u64> {
        self.alive.then_some(self.lives)
    }

    pub(super) fn end(&mut self) {
        *self = Self {
            lives: self.lives,
            ..Self::default()
        };
    }
}

impl Router {
    pub(super) fn netd_starts(&mut self, out: &mut Outside) {
        self.netd.lives += 1;
        self.netd.alive = true;
        if self.kernel.state.nft.is_none() {
            let table = lintel_netlink::kernel::closed_table();
            let step = Step {
                action: Action::Nft(Transaction::ReplaceTable(table)),
                hazard: Hazard::None,
                reason: "closed until the rules are in".to_owned(),
            };
            let done = self.kernel.step(&step);
            out.note("netd", || format!("closes the box: {done:?}"));
        }
        let life = self.netd.lives;
        self.next_look(out, life);
    }

    fn next_look(&mut self, out: &mut Outside, life: u64) {
        let regular = true;
        out.after(LOOK_INTERVAL, Event::NetdLook { life, regular });
    }

    pub(super) fn netd_session(&mut self, out: &mut Outside) {
        self.netd_looks(out, true);
    }

    pub(super) fn netd_told(&mut self, out: &mut Outside, message: ToNetd) {
        if self.netd.work.is_some() {
            self.netd.waiting.push(message);
            return;
        }
        match message {
            ToNetd::Observe { sysctls } => {
                self.netd.sysctls = sysctls;
                self.netd_looks(out, true);
            }
            // Nobody on this street asks what would be.
            ToNetd::Preview { .. } | ToNetd::Probe { .. } => {}
            ToNetd::Apply { id, plan } => {
                self.netd.work = Some(Work { id, plan, done: 0 });
                let life = self.netd.lives;
                out.after(Duration::from_micros(300), Event::NetdStep { life });
            }
        }
    }

    /// One step of a plan: a crash may come after each.
    pub fn netd_steps(&mut self, out: &mut Outside, life: u64) {
        if self.netd.life() != Some(life) {
            return;
        }
        let Some(work) = &mut self.netd.work else {
            return;
        };
        let id = work.id;
        let step = work.plan.steps.get(work.done).cloned();
        let mut error = None;
        if let Some(step) = step {
            match self.kernel.step(&step) {
                Ok(()) => {
                    work.done += 1;
                    out.note("netd", || step.reason.clone());
                    self.effect(out, &step.action);
                    let took = Duration::from_micros(out.dice.range(50, 3_000));
                    out.after(took, Event::NetdStep { life });
                    return;
                }
                Err(refusal) => {
                    out.note("netd", || format!("{} failed: {refusal}", step.reason));
                    error = Some(StepError {
                        step: u32::try_from(work.done).unwrap_or(u32::MAX),
                        errno: 5,
                        text: refusal.to_string(),
                    });
                }
            }
        }
        let done = work.done;
        self.netd.work = None;
        let applied = FromNetd::Applied {
            id,
            done: u32::try_from(done).unwrap_or(u32::MAX),
            error,
            kernel_writes: done as u64,
        };
        self.tell(out, RoleName::Netd, Said::FromNetd(applied));
        self.netd_looks(out, true);
        for message in std::mem::take(&mut self.netd.waiting) {
            self.netd_told(out, message);
        }
    }

    /// What the kernel's change means for others on the box.
    fn effect(&mut self, out: &mut Outside, action: &Action) {
        match action {
            Action::OpenSocket(spec) => self.hand_over(out, spec.clone(), true),
            Action::CloseSocket(spec) => self.hand_over(out, spec.clone(), false),
            Action::CreateBridge { .. } => self.carriers(out),
            _ => {}
        }
    }

    fn hand_over(&mut self, out: &mut Outside, spec: SocketSpec, open: bool) {
        let role = user_of(&spec);
        let life = match role {
            RoleName::Wand => self.wand.life(),
            _ => self.dhcpd.life(),
        };
        let index = self.link(spec.link.as_str()).map(|link| link.index);
        let (Some(life), Some(index)) = (life, index) else {
            return;
        };
        let what = if open {
            HandOver::Socket { spec, index }
        } else {
            HandOver::Gone { spec }
        };
        out.after(
            Duration::from_micros(200),
            Event::HandOver { role, life, what },
        );
    }

    /// A role that began gets what is open for it.
    pub(super) fn hand_over_all(&mut self, out: &mut Outside, role: RoleName) {
        if !self.alive(RoleName::Netd) {
            return;
        }
        let own: Vec<SocketSpec> = self.kernel.state.sockets.clone();
        for spec in own.into_iter().filter(|spec| user_of(spec) == role) {
            self.hand_over(out, spec, true);
        }
    }

    /// The kernel told of a change.
    pub(super) fn netd_notices(&mut self, out: &mut Outside) {
        if let Some(life) = self.netd.life() {
            let regular = false;
            out.after(LOOK_DELAY, Event::NetdLook { life, regular });
        }
    }

    /// A look that nobody asked for.
    pub fn netd_look_due(&mut self, out: &mut Outside, life: u64, regular: bool) {
        if self.netd.life() != Some(life) {
            return;
        }
        if regular {
            self.next_look(out, life);
        }
        if self.netd.work.is_none() {
            self.netd_looks(out, false);
        }
    }

    fn netd_looks(&mut self, out: &mut Outside, always: bool) {
        if self.sessions.of(RoleName::Netd).is_none() {
            return;
        }
        let observed = self.observe();
        if always || self.netd.told.as_ref() != Some(&observed) {
            self.netd.told = Some(observed.clone());
            let said = Said::FromNetd(FromNetd::Observed(Box::new(observed)));
            self.tell(out, RoleName::Netd, said);
        }
    }

    /// What a look shows: with every sysctl that was asked for and that the kernel has.
    pub fn observe(&self) -> ObservedState {
        self.kernel.looked_at(&self.netd.sysctls)
    }

    /// A link of the kernel.
    pub fn link(&self, name: &str) -> Option<&lintel_model::observed::LinkStatus> {
        let mut links = self.kernel.state.links.iter();
        links.find(|link| link.name.as_str() == name)
    }
}

fn user_of(spec: &SocketSpec) -> RoleName {
    match spec.kind {
        SocketKind::DhcpClient => RoleName::Wand,
        _ => RoleName::Dhcpd,
    }
}
