//! The box: a kernel, and the roles with the real machines inside. What is modelled here is
//! what init, the kernel and the shells do around them.

mod controld;
mod dhcpd;
mod dnsd;
mod netd;
mod sessions;
mod timed;
mod wall;
mod wand;

use embassy_time::{Duration, Instant};
use lintel_ipc::netd::{HandOver, ToNetd};
use lintel_model::observed::ObservedState;
use lintel_model::{LinkName, RoleName};
use lintel_plan::fake::{FakeKernel, port};
use lintel_roles::now::Now;

pub use controld::Controld;
pub use dhcpd::Dhcpd;
pub use dnsd::Dnsd;
pub use netd::Netd;
pub use sessions::Sessions;
pub use timed::Timed;
pub use wall::Wall;
pub use wand::Wand;

use crate::properties::{Property, Violation};
use crate::world::{Event, Outside, Said};

/// The port that leads into the house.
pub const LAN_PORT: &str = "eth0";
/// The port that leads to the provider.
pub const WAN_PORT: &str = "eth1";
/// The bridge that the planner makes.
pub const BRIDGE: &str = "br-lan";

/// The roles of the box, in the order in which init starts them.
pub const ROLES: [RoleName; 6] = [
    RoleName::Netd,
    RoleName::Controld,
    RoleName::Wand,
    RoleName::Dhcpd,
    RoleName::Dnsd,
    RoleName::Timed,
];

/// Both clocks as the roles read them.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// Since boot.
    pub mono: Instant,
    /// Unix seconds.
    pub unix_s: u64,
    /// When the boot was, in true time.
    pub boot_at: Instant,
}

impl Clocks {
    /// As a role takes it.
    pub fn now(&self) -> Now {
        Now {
            mono: self.mono,
            unix_s: self.unix_s,
        }
    }

    /// A deadline of a machine in true time.
    pub fn true_time(&self, mono: Option<Instant>) -> Option<Instant> {
        let mono = mono?;
        Some(
            self.boot_at
                .saturating_add(Duration::from_micros(mono.as_micros())),
        )
    }
}

/// The box.
pub struct Router {
    /// Whether it has power.
    pub on: bool,
    /// Boots so far.
    pub boot: u64,
    boot_at: Instant,
    /// Plans sent to netd.
    pub plans: u64,
    /// Its wall clock.
    pub wall: Wall,
    /// Its kernel.
    pub kernel: FakeKernel,
    /// Channels between controld and the others.
    pub sessions: Sessions,
    /// The roles.
    pub netd: Netd,
    /// The state.
    pub controld: Controld,
    /// DHCP towards the house.
    pub dhcpd: Dhcpd,
    /// DHCP towards the provider.
    pub wand: Wand,
    /// DNS.
    pub dnsd: Dnsd,
    /// NTP.
    pub timed: Timed,
    /// controld has looked at the clock since it was set.
    pub(crate) clock_noticed: bool,
    /// What controld noted since is on disk by the new time.
    pub(crate) clock_on_disk: bool,
}

impl Router {
    /// A box without power. `labelled` tells whether its board names the WAN port.
    pub fn new(wall: Wall, labelled: bool, factory: String) -> Self {
        Self {
            on: false,
            boot: 0,
            boot_at: Instant::from_secs(0),
            plans: 0,
            wall,
            kernel: FakeKernel::default(),
            sessions: Sessions::default(),
            netd: Netd::default(),
            controld: Controld::new(labelled, factory),
            dhcpd: Dhcpd::default(),
            wand: Wand::default(),
            dnsd: Dnsd::default(),
            timed: Timed::default(),
            clock_noticed: true,
            clock_on_disk: true,
        }
    }

    /// Both clocks.
    pub fn clocks(&self, now: Instant) -> Clocks {
        let up = now.saturating_duration_since(self.boot_at);
        Clocks {
            mono: Instant::from_micros(up.as_micros()),
            unix_s: self.wall.unix_s(now),
            boot_at: self.boot_at,
        }
    }

    /// The power is there: init starts the roles.
    pub fn power_on(&mut self, out: &mut Outside) {
        if self.on {
            return;
        }
        self.on = true;
        self.boot += 1;
        // The kernel took two seconds to get to init.
        self.boot_at = Instant::from_micros(out.now.as_micros().saturating_sub(2_000_000));
        self.kernel = bare_kernel();
        self.carriers(out);
        out.note("box", || "powers on".to_owned());
        for role in ROLES {
            let wait = Duration::from_micros(out.dice.range(2_000, 80_000));
            let boot = self.boot;
            out.after(wait, Event::Start { role, boot });
        }
    }

    /// The power goes; `seconds` later it is back.
    pub fn power_off(&mut self, out: &mut Outside, away: Duration) {
        if !self.on {
            return;
        }
        out.note("box", || format!("loses power for {} s", away.as_secs()));
        self.on = false;
        // The clock was set, and the disk does not know it yet: nobody can tell at the next start
        // what the leases are counted by.
        if !std::mem::replace(&mut self.clock_on_disk, true) {
            out.ledger.excuse();
        }
        self.clock_noticed = true;
        self.controld.power_cut(out);
        self.sessions = Sessions::default();
        self.netd.end();
        self.dhcpd.end();
        self.wand.end();
        self.dnsd.end();
        self.timed.end();
        self.kernel = FakeKernel::default();
        out.after(away, Event::PowerOn);
    }

    /// A role is killed; init starts it again.
    pub fn kill(&mut self, out: &mut Outside, role: RoleName) {
        if !self.on || !self.alive(role) {
            return;
        }
        out.note("init", || format!("{role} is killed"));
        match role {
            RoleName::Netd => {
                self.netd.end();
                // The descriptors it kept are gone with it.
                self.kernel.state.sockets.clear();
            }
            RoleName::Controld => self.controld.killed(out),
            RoleName::Dhcpd => self.dhcpd.end(),
            RoleName::Wand => self.wand.end(),
            RoleName::Dnsd => self.dnsd.end(),
            RoleName::Timed => self.timed.end(),
            RoleName::Init | RoleName::Webd => {}
        }
        if role == RoleName::Controld {
            self.sessions = Sessions::after(&self.sessions);
        } else if self.sessions.end(role) {
            self.controld
                .hear(lintel_roles::controld::core::Input::SessionEnded(role));
            self.controld_turn(out);
        }
        let wait = Duration::from_millis(out.dice.range(5, 1_500));
        let boot = self.boot;
        out.after(wait, Event::Start { role, boot });
    }

    /// init starts a role.
    pub fn start(&mut self, out: &mut Outside, role: RoleName, boot: u64) {
        if !self.on || boot != self.boot || self.alive(role) {
            return;
        }
        out.note("init", || format!("starts {role}"));
        match role {
            RoleName::Netd => self.netd_starts(out),
            RoleName::Controld => self.controld_starts(out),
            RoleName::Dhcpd => self.dhcpd.start(),
            RoleName::Wand => self.wand.start(out),
            RoleName::Dnsd => self.dnsd.start(out),
            RoleName::Timed => return self.timed_starts(out),
            RoleName::Init | RoleName::Webd => return,
        }
        if role == RoleName::Controld {
            for other in ROLES {
                self.connect(out, other);
            }
        } else {
            self.connect(out, role);
        }
        self.hand_over_all(out, role);
    }

    /// Whether a role runs.
    pub fn alive(&self, role: RoleName) -> bool {
        match role {
            RoleName::Netd => self.netd.life().is_some(),
            RoleName::Controld => self.controld.core.is_some(),
            RoleName::Dhcpd => self.dhcpd.life().is_some(),
            RoleName::Wand => self.wand.life().is_some(),
            RoleName::Dnsd => self.dnsd.life().is_some(),
            RoleName::Timed => self.timed.life().is_some(),
            RoleName::Init | RoleName::Webd => false,
        }
    }

    /// A session between controld and a role begins when both run.
    fn connect(&mut self, out: &mut Outside, role: RoleName) {
        // timed's word to controld is modelled without a session.
        if matches!(role, RoleName::Controld | RoleName::Timed)
            || !self.alive(role)
            || !self.alive(RoleName::Controld)
        {
            return;
        }
        let latency = Duration::from_micros(out.dice.range(20, 900));
        self.sessions.begin(role, latency);
        if role == RoleName::Dhcpd {
            self.dhcpd.begun = false;
        }
        self.controld
            .hear(lintel_roles::controld::core::Input::Session(role));
        self.controld_turn(out);
        if role == RoleName::Netd {
            self.netd_session(out);
        }
    }

    /// A message arrives.
    pub fn said(&mut self, out: &mut Outside, role: RoleName, session: u64, said: Said) {
        if !self.sessions.is(role, session) {
            return;
        }
        use lintel_roles::controld::core::Input;
        match said {
            Said::ToNetd(message) => self.netd_told(out, message),
            Said::ToWand(message) => self.wand_told(out, message),
            Said::ToDhcpd(message) => self.dhcpd_told(out, message),
            Said::ToDnsd(message) => self.dnsd_told(out, message),
            Said::FromNetd(message) => self.controld_hears(out, Input::Netd(message)),
            Said::FromWand(message) => self.controld_hears(out, Input::Wand(message)),
            Said::FromDhcpd(message) => self.controld_hears(out, Input::Dhcpd(vec![message])),
            Said::FromDnsd(message) => self.controld_hears(out, Input::Dnsd(message)),
        }
    }

    /// Sends a message in the session of a role; false when there is none.
    fn tell(&mut self, out: &mut Outside, role: RoleName, said: Said) -> bool {
        let Some((session, latency)) = self.sessions.of(role) else {
            return false;
        };
        if let Said::ToNetd(ToNetd::Apply { .. }) = &said {
            self.plans += 1;
        }
        out.after(
            latency,
            Event::Ipc {
                role,
                session,
                said,
            },
        );
        true
    }

    /// A socket arrives at its user.
    pub fn handed(&mut self, out: &mut Outside, role: RoleName, life: u64, what: HandOver) {
        match role {
            RoleName::Wand if self.wand.life() == Some(life) => self.wand_socket(out, what),
            RoleName::Dhcpd if self.dhcpd.life() == Some(life) => self.dhcpd_socket(&what),
            _ => {}
        }
    }

    /// Somebody who is not netd takes a route away.
    pub fn foreign_change(&mut self, out: &mut Outside) {
        let routes = &mut self.kernel.state.routes;
        if routes.is_empty() {
            return;
        }
        routes.remove(0);
        out.note("root", || "deletes a route".to_owned());
        self.netd_notices(out);
    }

    /// What keeps the kernel from being as desired.
    pub fn unsettled(&self) -> Option<String> {
        let Some(core) = &self.controld.core else {
            return Some("controld does not run".to_owned());
        };
        if self.controld.busy() {
            return Some("controld waits for the disk".to_owned());
        }
        let addresses = self.kernel.state.addresses.iter();
        if addresses.filter(|a| a.link.as_str() == BRIDGE).count() > 1 {
            return Some("the house still moves to another network".to_owned());
        }
        if !core.is_settled() {
            return Some("the kernel does not hold what is desired".to_owned());
        }
        let plan = lintel_plan::diff(core.desired(), &self.observe());
        let step = plan.steps.first()?;
        Some(format!("a second look would: {}", step.reason))
    }

    /// The wires were plugged in or out.
    pub fn carriers(&mut self, out: &mut Outside) {
        let (lan, wan) = (out.lan.carrier, out.wan.carrier);
        for link in &mut self.kernel.state.links {
            link.carrier = match link.name.as_str() {
                WAN_PORT => wan,
                _ => lan,
            };
        }
        self.netd_notices(out);
    }

    /// What the kernel must never have done.
    pub fn check_kernel(&self, out: &mut Outside) {
        if let Some(text) = self.kernel.violations.first() {
            out.breaks(Violation {
                property: Property::Ruled,
                text: text.clone(),
            });
        }
    }
}

/// Two ports, nothing set.
fn bare_kernel() -> FakeKernel {
    let name = |name: &str| -> Option<LinkName> { name.parse().ok() };
    let ports = [(LAN_PORT, 2), (WAN_PORT, 3)];
    FakeKernel::new(ObservedState {
        links: ports
            .into_iter()
            .filter_map(|(link, index)| Some(port(name(link)?, index)))
            .collect(),
        ..ObservedState::default()
    })
}
