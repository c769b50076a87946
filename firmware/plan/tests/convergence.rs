//! Properties of the planner against the fake kernel: it arrives in one plan from anywhere, it
//! arrives after a failure at any step, it touches nothing foreign, and it never opens a gap.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod worlds;

use std::net::Ipv4Addr;

use lintel_model::config::{Config, RecordConfig, RecordType, ReservationConfig};
use lintel_model::desired::{
    AddressSpec, DesiredState, LinkKind, RouteSpec, SocketKind, SocketSpec, SysctlSpec,
};
use lintel_model::facts::Facts;
use lintel_model::observed::{LinkStatus, ObservedState};
use lintel_model::{LinkName, MacAddr};
use lintel_plan::fake::{FakeKernel, port};
use lintel_plan::{diff, resolve};
use proptest::prelude::*;
use worlds::{FOREIGN, bare, ipnet, name, wish, world};

/// Something that went wrong in the kernel since we last looked.
#[derive(Debug, Clone)]
enum Noise {
    Address(u8, u8),
    Route(u8, u8),
    Toggle(u8),
    Enslave(u8, bool),
    Mtu(u8),
    BridgeMac,
    Sysctl(u8),
    Chain(u8),
    Rule(u8),
    Element(u8),
    Table,
    Socket(u8),
    BridgeGone,
    Impostor,
}

fn noise() -> impl Strategy<Value = Noise> {
    prop_oneof![
        1 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Noise::Address(a, b)),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Noise::Route(a, b)),
        1 => any::<u8>().prop_map(Noise::Toggle),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(a, b)| Noise::Enslave(a, b)),
        1 => any::<u8>().prop_map(Noise::Mtu),
        1 => Just(Noise::BridgeMac),
        1 => any::<u8>().prop_map(Noise::Sysctl),
        1 => any::<u8>().prop_map(Noise::Chain),
        1 => any::<u8>().prop_map(Noise::Rule),
        1 => any::<u8>().prop_map(Noise::Element),
        1 => Just(Noise::Table),
        1 => any::<u8>().prop_map(Noise::Socket),
        1 => Just(Noise::BridgeGone),
        1 => Just(Noise::Impostor),
    ]
}

fn disturb(kernel: &mut FakeKernel, noise: &[Noise]) {
    for noise in noise {
        let state = &mut kernel.state;
        let ours: Vec<LinkName> = state
            .links
            .iter()
            .map(|link| link.name.clone())
            .filter(|link| link.as_str() != FOREIGN)
            .collect();
        let pick = |n: u8| ours.get(usize::from(n) % ours.len().max(1)).cloned();
        let link_of = |state: &mut ObservedState, n: u8| -> Option<usize> {
            let name = pick(n)?;
            state.links.iter().position(|link| link.name == name)
        };
        match *noise {
            Noise::Address(link, n) => {
                if let Some(link) = pick(link) {
                    let address = ipnet(&format!("192.168.{}.{n}/24", n % 5));
                    let spec = AddressSpec { link, address };
                    if !state.addresses.contains(&spec) {
                        state.addresses.push(spec);
                    }
                }
            }
            Noise::Route(link, n) => {
                if let Some(at) = link_of(state, link)
                    && state.links[at].up
                {
                    let route = RouteSpec {
                        destination: ipnet(&format!("10.{}.0.0/16", n % 4)),
                        gateway: None,
                        link: state.links[at].name.clone(),
                        onlink: false,
                        source: None,
                        metric: 76,
                        table: 254,
                    };
                    state.routes.retain(|r| r.destination != route.destination);
                    state.routes.push(route);
                }
            }
            Noise::Toggle(n) => {
                if let Some(at) = link_of(state, n) {
                    let link = &mut state.links[at];
                    link.up = !link.up;
                    let (up, name) = (link.up, link.name.clone());
                    state.routes.retain(|route| up || route.link != name);
                }
            }
            Noise::Enslave(n, foreign) => {
                let bridge = if foreign { "br9" } else { "br-lan" };
                if foreign && !state.links.iter().any(|l| l.name.as_str() == bridge) {
                    let mut link = port(name(bridge), 80);
                    link.kind = "bridge".to_owned();
                    state.links.push(link);
                }
                let there = |l: &LinkStatus| l.name.as_str() == bridge && l.kind == "bridge";
                if state.links.iter().any(there)
                    && let Some(at) = link_of(state, n)
                    && state.links[at].kind.is_empty()
                {
                    state.links[at].master = Some(name(bridge));
                }
            }
            Noise::Mtu(n) => {
                if let Some(at) = link_of(state, n) {
                    state.links[at].mtu = 1280;
                }
            }
            Noise::BridgeMac => {
                for link in &mut state.links {
                    if link.kind == "bridge" {
                        link.mac = Some(MacAddr([2, 0, 0, 0, 0, 9]));
                    }
                }
            }
            Noise::Sysctl(n) => {
                let count = state.sysctls.len().max(1);
                // Forwarding with rules in force only: others must not open it either.
                if let Some(spec) = state.sysctls.get_mut(usize::from(n) % count) {
                    spec.value = "0".to_owned();
                }
            }
            Noise::Chain(n) => {
                if let Some(table) = &mut state.nft {
                    let at = usize::from(n) % table.chains.len().max(1);
                    if n % 2 == 0 {
                        let mut chain = table.chains[at].clone();
                        chain.name = format!("zz{n}");
                        if !table.chains.iter().any(|c| c.name == chain.name) {
                            table.chains.push(chain);
                        }
                    } else {
                        table.chains[at].base = None;
                    }
                }
            }
            Noise::Rule(n) => {
                if let Some(table) = &mut state.nft {
                    let at = usize::from(n) % table.chains.len().max(1);
                    table.chains[at].rules.pop();
                }
            }
            Noise::Element(n) => {
                if let Some(table) = &mut state.nft {
                    let at = usize::from(n) % table.sets.len().max(1);
                    table.sets[at].elements.pop();
                }
            }
            Noise::Table => {
                state.nft = None;
                state
                    .sysctls
                    .retain(|spec| spec.path != "net/ipv4/ip_forward");
            }
            Noise::Socket(n) => {
                if let Some(link) = pick(n) {
                    let kind = SocketKind::DhcpClient;
                    let socket = SocketSpec { link, kind };
                    match state.sockets.iter().position(|old| *old == socket) {
                        Some(at) => drop(state.sockets.remove(at)),
                        None => state.sockets.push(socket),
                    }
                }
            }
            Noise::BridgeGone | Noise::Impostor => {
                let bridge = name("br-lan");
                state.links.retain(|link| link.name != bridge);
                for link in &mut state.links {
                    link.master = link.master.take().filter(|master| *master != bridge);
                }
                state.addresses.retain(|address| address.link != bridge);
                state.routes.retain(|route| route.link != bridge);
                state.sockets.retain(|socket| socket.link != bridge);
                let per_link = "/conf/br-lan/";
                state.sysctls.retain(|spec| !spec.path.contains(per_link));
                if matches!(noise, Noise::Impostor) {
                    let mut link = port(bridge, 70);
                    link.kind = "dummy".to_owned();
                    state.links.push(link);
                }
            }
        }
    }
    *kernel = FakeKernel::new(kernel.state.clone());
}

/// What differs, found without the planner's own comparison.
fn differences(desired: &DesiredState, observed: &ObservedState) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |same: bool, what: String| {
        if !same {
            found.push(what);
        }
    };
    for spec in &desired.links {
        let link = observed.links.iter().find(|link| link.name == spec.name);
        let Some(link) = link else {
            check(false, format!("{} is missing", spec.name));
            continue;
        };
        let bridge = (spec.kind == LinkKind::Bridge) == (link.kind == "bridge");
        check(bridge, format!("kind of {}", spec.name));
        check(link.up == spec.up, format!("up of {}", spec.name));
        check(
            link.master == spec.master,
            format!("master of {}", spec.name),
        );
        check(
            spec.mtu.is_none_or(|mtu| mtu == link.mtu),
            format!("MTU of {}", spec.name),
        );
        check(
            spec.mac.is_none() || spec.mac == link.mac,
            format!("MAC of {}", spec.name),
        );
    }
    let ours = |link: &LinkName| desired.links.iter().any(|spec| spec.name == *link);
    let on_ours: Vec<_> = observed
        .addresses
        .iter()
        .filter(|a| ours(&a.link))
        .collect();
    let wanted: Vec<_> = desired.addresses.iter().collect();
    check(on_ours == wanted, format!("addresses {on_ours:?}"));
    check(
        observed.routes == desired.routes,
        format!("routes {:?}", observed.routes),
    );
    for spec in &desired.sysctls {
        check(observed.sysctls.contains(spec), format!("{spec:?}"));
    }
    check(observed.nft == desired.nft, "table".to_owned());
    check(
        observed.sockets == desired.sockets,
        format!("sockets {:?}", observed.sockets),
    );
    found
}

fn foreign(kernel: &FakeKernel) -> (Vec<LinkStatus>, Vec<AddressSpec>) {
    let state = &kernel.state;
    let is_foreign = |link: &LinkName| [FOREIGN, "br9"].contains(&link.as_str());
    (
        state
            .links
            .iter()
            .filter(|l| is_foreign(&l.name))
            .cloned()
            .collect(),
        state
            .addresses
            .iter()
            .filter(|a| is_foreign(&a.link))
            .cloned()
            .collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn one_plan_arrives_from_anywhere(
        ports in 1..4u8,
        before in prop::option::of(world()),
        part in 0..60usize,
        noise in prop::collection::vec(noise(), 0..6),
        after in world(),
    ) {
        let mut kernel = bare(ports);
        if let Some(before) = before {
            let mut plan = diff(&wish(&before, &kernel), &kernel.state);
            plan.steps.truncate(part);
            prop_assert_eq!(kernel.apply(&plan), Ok(()));
            prop_assert_eq!(&kernel.violations, &Vec::<String>::new());
        }
        disturb(&mut kernel, &noise);
        let others = foreign(&kernel);
        let desired = wish(&after, &kernel);
        let plan = diff(&desired, &kernel.state);
        prop_assert_eq!(kernel.apply(&plan), Ok(()), "{}", plan.to_text());
        let left = differences(&desired, &kernel.state);
        prop_assert_eq!(left, Vec::<String>::new(), "{}", plan.to_text());
        prop_assert_eq!(diff(&desired, &kernel.state).to_text(), "Nothing to do.\n");
        prop_assert_eq!(foreign(&kernel), others);
        prop_assert_eq!(&kernel.violations, &Vec::<String>::new());
        // The wish is the same when it is made again from what now is.
        prop_assert_eq!(wish(&after, &kernel), desired);
    }

    #[test]
    fn a_failure_at_any_step_is_made_good(
        before in world(),
        after in world(),
        fail in 0..60u64,
    ) {
        let mut kernel = bare(3);
        let plan = diff(&wish(&before, &kernel), &kernel.state);
        kernel.fail_after = Some(fail);
        let _ = kernel.apply(&plan);
        kernel.fail_after = Some(fail / 2);
        let desired = wish(&after, &kernel);
        let _ = kernel.apply(&diff(&desired, &kernel.state));
        kernel.fail_after = None;
        let plan = diff(&desired, &kernel.state);
        prop_assert_eq!(kernel.apply(&plan), Ok(()), "{}", plan.to_text());
        prop_assert_eq!(differences(&desired, &kernel.state), Vec::<String>::new());
        prop_assert_eq!(&kernel.violations, &Vec::<String>::new());
    }
}

/// Found by fuzzing: something else took the bridge's name while netd still held our socket there.
#[test]
fn a_socket_is_opened_anew_with_its_link() {
    let mut kernel = bare(2);
    let facts = Facts {
        links: kernel.state.links.clone(),
        detected_wan: "eth0".parse().ok(),
        ..Facts::default()
    };
    let desired = resolve(&Config::default(), &facts).kernel;
    kernel.apply(&diff(&desired, &kernel.state)).unwrap();
    let sockets = kernel.state.sockets.clone();
    disturb(&mut kernel, &[Noise::Impostor]);
    kernel.state.sockets = sockets;
    kernel.apply(&diff(&desired, &kernel.state)).unwrap();
    assert_eq!(differences(&desired, &kernel.state), Vec::<String>::new());
}

#[test]
fn names_and_reservations_never_reach_the_kernel() {
    let mut kernel = bare(2);
    let facts = |kernel: &FakeKernel| Facts {
        links: kernel.state.links.clone(),
        detected_wan: "eth0".parse().ok(),
        ..Facts::default()
    };
    let mut config = Config::default();
    let plan = diff(&resolve(&config, &facts(&kernel)).kernel, &kernel.state);
    kernel.apply(&plan).unwrap();
    config.system.hostname = "attic".parse().unwrap();
    config.lan.domain = "home.arpa".parse().unwrap();
    config.dhcp.lease_s = 600;
    config.dns.upstreams.push("9.9.9.9".parse().unwrap());
    config.dns.records.push(RecordConfig {
        name: "nas".parse().unwrap(),
        rtype: RecordType::A,
        value: "192.168.1.5".to_owned(),
        ttl: 300,
    });
    for host in 2..100 {
        config.dhcp.reservations.push(ReservationConfig {
            mac: MacAddr([2, 0, 0, 0, 0, host]),
            address: Ipv4Addr::new(192, 168, 1, host),
            name: format!("host{host}").parse().ok(),
        });
    }
    let resolved = resolve(&config, &facts(&kernel));
    // The ruleset is part of this: its size does not depend on the number of devices.
    assert_eq!(diff(&resolved.kernel, &kernel.state).steps, []);
    assert_eq!(resolved.dhcp.subnets[0].reservations.len(), 98);
}

#[test]
fn rules_do_not_grow_with_ports() {
    let rules = |ports: u8| {
        let kernel = bare(ports);
        let facts = Facts {
            links: kernel.state.links.clone(),
            detected_wan: "eth0".parse().ok(),
            ..Facts::default()
        };
        let table = resolve(&Config::default(), &facts).kernel.nft.unwrap();
        table
            .chains
            .iter()
            .map(|chain| chain.rules.len())
            .sum::<usize>()
    };
    assert_eq!(rules(2), rules(40));
}

#[test]
fn what_is_taken_away_goes_in_a_safe_order() {
    let mut kernel = bare(2);
    let facts = Facts {
        links: kernel.state.links.clone(),
        detected_wan: "eth0".parse().ok(),
        ..Facts::default()
    };
    let plan = diff(&resolve(&Config::default(), &facts).kernel, &kernel.state);
    kernel.apply(&plan).unwrap();
    let plan = diff(&DesiredState::default(), &kernel.state);
    kernel.apply(&plan).unwrap();
    assert_eq!(kernel.violations, Vec::<String>::new());
    assert_eq!(kernel.state.nft, None);
    let off = SysctlSpec {
        path: "net/ipv4/ip_forward".to_owned(),
        value: "0".to_owned(),
    };
    assert!(kernel.state.sysctls.contains(&off));
    assert!(
        kernel
            .state
            .links
            .iter()
            .all(|link| link.name.as_str() != "br-lan")
    );
}
