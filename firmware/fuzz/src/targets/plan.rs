//! The planner: any wish from any state of the kernel, and the loop that keeps at it.

use std::net::Ipv4Addr;

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_model::config::{Config, WanKind};
use lintel_model::desired::{
    AddressSpec, DesiredState, RouteSpec, SocketKind, SocketSpec, SysctlSpec,
};
use lintel_model::facts::{DataState, Facts};
use lintel_model::lease::WanLease;
use lintel_model::observed::{ForeignObject, LinkStatus, ObservedState};
use lintel_model::services::Resolved;
use lintel_model::{IpNet, LinkName, MacAddr};
use lintel_plan::converge::{ApplyError, Converge, Event};
use lintel_plan::fake::{FakeKernel, port, tunnel};
use lintel_plan::{diff, print, resolve};

use crate::Tally;
use crate::entropy::{any, below, number, once_in, pick};

/// A link that is nobody's business.
const FOREIGN: &str = "wg9";

/// From any state, one plan leads to the wish and a second one is empty; a failure on the way is
/// made good by the next; forwarding is never open without rules; what is foreign stays.
pub fn plan_diff(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let (before, mut kernel) = World::with_kernel(&mut u);
    let mut tally = Tally::default();
    let mut plan = diff(&before.wish(&kernel), &kernel.state);
    plan.steps.truncate(below(&mut u, 60));
    kernel
        .apply(&plan)
        .expect("the kernel takes a plan made for it");
    while !u.is_empty() {
        // What is handed in: a wish, and each thing that happened to the kernel.
        tally.inputs += 1;
        for _ in 0..below(&mut u, 5) {
            tally.inputs += 1;
            disturb(&mut u, &mut kernel.state);
        }
        kernel = FakeKernel::new(kernel.state);
        let world = World::new(&mut u);
        let foreign = foreign(&kernel.state);
        let desired = world.wish(&kernel);
        if once_in(&mut u, 3) {
            kernel.fail_after = Some(below(&mut u, 40) as u64);
            let _ = kernel.apply(&diff(&desired, &kernel.state));
            kernel.fail_after = None;
        }
        let plan = diff(&desired, &kernel.state);
        tally.accepted += u64::from(!plan.is_empty());
        assert!(!plan.to_text().is_empty());
        let taken = kernel.apply(&plan);
        assert!(taken.is_ok(), "{taken:?} of {}", plan.to_text());
        let left = diff(&desired, &kernel.state);
        assert!(
            left.is_empty(),
            "{} after {}",
            left.to_text(),
            plan.to_text()
        );
        assert_eq!(
            kernel.violations,
            Vec::<String>::new(),
            "{}",
            plan.to_text()
        );
        assert_eq!(self::foreign(&kernel.state), foreign);
        if once_in(&mut u, 8) {
            assert_eq!(
                world.wish(&kernel),
                desired,
                "the wish changed with the kernel"
            );
            let table = desired.nft.as_ref().map(print::table);
            assert!(table.is_none_or(|text| text.contains("lintel")));
        }
    }
    tally
}

/// Looks, answers, refusals, silence, lost sessions and new wishes in any order: one plan is on
/// its way at most, and when the kernel takes everything the machine settles.
pub fn plan_converge(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let (world, mut kernel) = World::with_kernel(&mut u);
    let mut machine = Converge::new();
    let mut now = Instant::from_secs(1);
    let mut tally = Tally::default();
    let mut desired = world.wish(&kernel);
    machine.set_desired(now, desired.clone());
    while !u.is_empty() {
        tally.inputs += 1;
        match below(&mut u, 8) {
            0 => {
                desired = World::new(&mut u).wish(&kernel);
                machine.set_desired(now, desired.clone());
            }
            1 => disturb(&mut u, &mut kernel.state),
            2 | 3 => machine.handle_observed(now, kernel.state.clone()),
            4 => {
                let failed = ApplyError::Step {
                    index: below(&mut u, 70),
                    text: "no".to_owned(),
                };
                machine.handle_applied(now, if any(&mut u) { Ok(()) } else { Err(failed) });
            }
            5 => {
                machine.handle_lost();
            }
            _ => {
                let ms = pick(&mut u, &[0, 200, 2_000, 31_000, 3_600_000]);
                now += Duration::from_millis(ms);
            }
        }
        kernel = FakeKernel::new(kernel.state);
        if let Some(plan) = machine.poll(now) {
            assert!(!plan.is_empty());
            tally.accepted += 1;
            if any(&mut u) {
                kernel.fail_after = once_in(&mut u, 3).then(|| below(&mut u, 40) as u64);
                let taken = kernel.apply(&plan);
                let error = taken.map_err(|(index, refusal)| ApplyError::Step {
                    index,
                    text: refusal.to_string(),
                });
                machine.handle_applied(now, error);
            }
        }
        drain(&mut machine);
        assert!(
            machine.next_deadline().is_none_or(|at| at > now),
            "a deadline that has passed would be met for ever: {machine:?}"
        );
    }
    // From here on the kernel takes everything.
    kernel.fail_after = None;
    desired = world.wish(&kernel);
    machine.set_desired(now, desired);
    machine.handle_lost();
    for _ in 0..40 {
        machine.handle_observed(now, kernel.state.clone());
        if let Some(plan) = machine.poll(now) {
            kernel
                .apply(&plan)
                .expect("the kernel takes a plan made for it");
            machine.handle_applied(now, Ok(()));
            continue;
        }
        drain(&mut machine);
        if machine.is_settled() {
            return tally;
        }
        now = machine.next_deadline().unwrap_or(now).max(now);
    }
    panic!("never settles: {machine:?}");
}

fn drain(machine: &mut Converge) {
    let mut count = 0;
    while let Some(event) = machine.poll_event() {
        count += 1;
        assert!(count < 100, "events without end");
        if let Event::Failed { failures, .. } = event {
            assert!(failures > 0);
        }
    }
}

/// A configuration with its facts.
#[derive(Debug)]
pub struct World {
    config: Config,
    detected: Option<u8>,
    detection_over: bool,
    lease: Option<WanLease>,
    failed: bool,
}

impl World {
    /// A world and a kernel with one to three ports.
    pub fn with_kernel(u: &mut Unstructured<'_>) -> (Self, FakeKernel) {
        let world = Self::new(u);
        let mut state = ObservedState::default();
        for index in 0..=below(u, 3) as u32 {
            state
                .links
                .push(port(name(&format!("eth{index}")), index + 2));
        }
        state.links.push(tunnel(name(FOREIGN), 90));
        state.addresses.push(AddressSpec {
            link: name(FOREIGN),
            address: net("10.99.0.1/24"),
        });
        state.foreign.push(ForeignObject {
            kind: "nft table".to_owned(),
            text: "ip filter".to_owned(),
        });
        (world, FakeKernel::new(state))
    }

    /// Any world.
    pub fn new(u: &mut Unstructured<'_>) -> Self {
        let mut config = Config::default();
        let lan = format!("192.168.{}.1/{}", below(u, 4), pick(u, &[24, 24, 16, 30]));
        config.lan.address = lan.parse().unwrap_or(config.lan.address);
        if once_in(u, 8) {
            config.wan.kind = WanKind::None;
        }
        config.dhcp.enabled = !once_in(u, 8);
        let ports = below(u, 8);
        for bit in (0..3).filter(|bit| ports & (1 << bit) != 0) {
            config.lan.ports.extend(format!("eth{bit}").parse());
        }
        let detected = any::<bool>(u).then(|| below(u, 4) as u8);
        Self {
            config,
            detected,
            detection_over: any(u),
            lease: any::<bool>(u).then(|| lease(u, detected.unwrap_or(0))),
            failed: once_in(u, 12),
        }
    }

    /// What the planner makes of it.
    pub fn resolved(&self, kernel: &FakeKernel) -> Resolved {
        let mut facts = Facts {
            links: kernel.state.links.clone(),
            detected_wan: self.detected.and_then(|n| format!("eth{n}").parse().ok()),
            detection_over: self.detection_over,
            wan_lease: self.lease.clone(),
            ..Facts::default()
        };
        if self.failed {
            facts.data = DataState::Failed {
                reason: "the disk is gone".to_owned(),
            };
        }
        resolve(&self.config, &facts)
    }

    /// What the kernel shall hold.
    pub fn wish(&self, kernel: &FakeKernel) -> DesiredState {
        self.resolved(kernel).kernel
    }
}

/// A lease of the provider on port `eth{port}`.
pub fn lease(u: &mut Unstructured<'_>, port: u8) -> WanLease {
    // Networks 0 to 3 may be the LAN's.
    let net = below(u, 5) as u8;
    let router = pick(
        u,
        &[
            Ipv4Addr::new(192, 168, net, 254),
            Ipv4Addr::new(100, 64, 0, 1),
            Ipv4Addr::new(192, 168, net, 77),
        ],
    );
    let route = |u: &mut Unstructured<'_>| {
        let text = format!("{}.{}.0.0/16", pick(u, &[10, 10, 192, 0]), below(u, 4));
        Some((text.parse().ok()?, router))
    };
    WanLease {
        link: name(&format!("eth{port}")),
        address: Ipv4Addr::new(192, 168, net, 77),
        prefix_len: pick(u, &[24, 32, 0, 8, 30, 31]),
        router: (!once_in(u, 4)).then_some(router),
        dns: vec![router],
        ntp: Vec::new(),
        domain: None,
        mtu: any::<bool>(u).then(|| pick(u, &[576, 1280, 1400, 9000])),
        routes: (0..below(u, 3)).filter_map(|_| route(u)).collect(),
        server: router,
        bound_unix_s: 0,
        lease_s: number(u),
        renew_s: number(u),
        rebind_s: number(u),
    }
}

/// Something happens to the kernel that we did not do.
pub fn disturb(u: &mut Unstructured<'_>, state: &mut ObservedState) {
    let ours: Vec<usize> = (0..state.links.len())
        .filter(|at| !is_foreign(&state.links[*at].name))
        .collect();
    if ours.is_empty() {
        return;
    }
    let at = pick(u, &ours);
    let link = state.links[at].name.clone();
    match below(u, 13) {
        0 => {
            let address = net(&format!("192.168.{}.{}/24", below(u, 5), below(u, 4)));
            let spec = AddressSpec { link, address };
            if !state.addresses.contains(&spec) {
                state.addresses.push(spec);
            }
        }
        1 if state.links[at].up => {
            let route = RouteSpec {
                destination: net(&format!("10.{}.0.0/16", below(u, 4))),
                gateway: None,
                link,
                onlink: false,
                source: None,
                metric: 76,
                table: 254,
            };
            state
                .routes
                .retain(|old| old.destination != route.destination);
            state.routes.push(route);
        }
        2 => {
            let up = !state.links[at].up;
            state.links[at].up = up;
            state.routes.retain(|route| up || route.link != link);
        }
        3 if state.links[at].kind.is_empty() => {
            let there =
                |other: &LinkStatus| other.name.as_str() == "br-lan" && other.kind == "bridge";
            if state.links.iter().any(there) {
                state.links[at].master = Some(name("br-lan"));
            }
        }
        4 => state.links[at].mtu = pick(u, &[1280, 1500, 9000]),
        5 => state.links[at].mac = Some(MacAddr([2, 0, 0, 0, 0, any(u)])),
        6 if !state.sysctls.is_empty() => {
            let at = below(u, state.sysctls.len());
            state.sysctls[at].value = "0".to_owned();
        }
        7 => {
            if let Some(table) = &mut state.nft
                && !table.chains.is_empty()
            {
                let at = below(u, table.chains.len());
                match below(u, 4) {
                    0 => drop(table.chains[at].rules.pop()),
                    1 => table.chains[at].base = None,
                    2 => {
                        let mut chain = table.chains[at].clone();
                        chain.name = "zz".to_owned();
                        if table.chains.iter().all(|other| other.name != "zz") {
                            table.chains.push(chain);
                        }
                    }
                    _ => table.chains[at].rules.reverse(),
                }
            }
        }
        8 => {
            if let Some(table) = &mut state.nft
                && !table.sets.is_empty()
            {
                let at = below(u, table.sets.len());
                table.sets[at].elements.pop();
            }
        }
        // The table went, and with it whoever opened forwarding.
        9 => {
            state.nft = None;
            state
                .sysctls
                .retain(|spec: &SysctlSpec| spec.path != "net/ipv4/ip_forward");
        }
        10 => {
            let socket = SocketSpec {
                link,
                kind: pick(u, &[SocketKind::DhcpClient, SocketKind::DhcpServer]),
            };
            match state.sockets.iter().position(|old| *old == socket) {
                Some(at) => drop(state.sockets.remove(at)),
                None => state.sockets.push(socket),
            }
        }
        11 => {
            // A link goes, and a stranger may take its name.
            let index = state.links[at].index;
            let hardware = state.links[at].kind.is_empty();
            state.links.remove(at);
            for other in &mut state.links {
                other.master = other.master.take().filter(|master| *master != link);
            }
            state.addresses.retain(|address| address.link != link);
            state.routes.retain(|route| route.link != link);
            state.sockets.retain(|socket| socket.link != link);
            let per_link = format!("/conf/{link}/");
            state.sysctls.retain(|spec| !spec.path.contains(&per_link));
            if any(u) {
                let mut other = port(link, index + 30);
                if !hardware {
                    other.kind = "dummy".to_owned();
                }
                state.links.push(other);
            }
        }
        _ => {}
    }
}

fn is_foreign(link: &LinkName) -> bool {
    link.as_str() == FOREIGN
}

fn foreign(state: &ObservedState) -> (Vec<LinkStatus>, Vec<AddressSpec>, Vec<ForeignObject>) {
    (
        state
            .links
            .iter()
            .filter(|link| is_foreign(&link.name))
            .cloned()
            .collect(),
        state
            .addresses
            .iter()
            .filter(|address| is_foreign(&address.link))
            .cloned()
            .collect(),
        state.foreign.clone(),
    )
}

fn name(text: &str) -> LinkName {
    text.parse().expect("a name")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}
