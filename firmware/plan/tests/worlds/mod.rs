//! Configurations with their facts, as dice, and a kernel to try them on.

use std::net::Ipv4Addr;

use lintel_model::LinkName;
use lintel_model::config::{Config, WanKind};
use lintel_model::desired::{AddressSpec, DesiredState};
use lintel_model::facts::{DataState, Facts};
use lintel_model::lease::WanLease;
use lintel_model::observed::{LinkStatus, ObservedState};
use lintel_plan::fake::{FakeKernel, port, tunnel};
use lintel_plan::resolve;
use proptest::prelude::*;

/// One configuration with its facts, as dice.
#[derive(Debug, Clone)]
pub(crate) struct World {
    lan: u8,
    wan_off: bool,
    lan_ports: u8,
    detected: Option<u8>,
    detection_over: bool,
    lease: Option<(u8, bool, u8)>,
    dhcp: bool,
    failed: bool,
    serves_time: bool,
    leaving: u8,
}

pub(crate) fn world() -> impl Strategy<Value = World> {
    (
        0..4u8,
        prop::bool::weighted(0.1),
        0..8u8,
        prop::option::weighted(0.7, 0..4u8),
        any::<bool>(),
        prop::option::weighted(0.7, (0..4u8, any::<bool>(), 0..4u8)),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.8),
        prop_oneof![4 => Just(0), 1 => 0..16u8],
    )
        .prop_map(
            |(
                lan,
                wan_off,
                lan_ports,
                detected,
                detection_over,
                lease,
                dhcp,
                failed,
                serves_time,
                leaving,
            )| World {
                lan,
                wan_off,
                lan_ports,
                detected,
                detection_over,
                lease,
                dhcp,
                failed,
                serves_time,
                leaving,
            },
        )
}

pub(crate) fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

pub(crate) const FOREIGN: &str = "wg9";

/// Ports, and a link that is nobody's business.
pub(crate) fn bare(ports: u8) -> FakeKernel {
    let mut state = ObservedState::default();
    for index in 0..ports {
        let link = port(name(&format!("eth{index}")), u32::from(index) + 2);
        state.links.push(link);
    }
    state.links.push(tunnel(name(FOREIGN), 90));
    state.addresses.push(AddressSpec {
        link: name(FOREIGN),
        address: ipnet("10.99.0.1/24"),
    });
    FakeKernel::new(state)
}

pub(crate) fn ipnet(text: &str) -> lintel_model::IpNet {
    text.parse().unwrap()
}

pub(crate) fn wish(world: &World, kernel: &FakeKernel) -> DesiredState {
    wish_among(world, &kernel.state.links)
}

/// The same with these links.
pub(crate) fn wish_among(world: &World, links: &[LinkStatus]) -> DesiredState {
    let mut config = Config::default();
    let lan = format!("192.168.{}.1/24", world.lan);
    config.lan.address = lan.parse().unwrap_or(config.lan.address);
    if world.wan_off {
        config.wan.kind = WanKind::None;
    }
    config.dhcp.enabled = world.dhcp;
    config.ntp.serve = world.serves_time;
    for bit in 0..3 {
        if world.lan_ports & (1 << bit) != 0 && world.lan_ports != 7 {
            let port = format!("eth{bit}").parse();
            config.lan.ports.extend(port);
        }
    }
    let mut facts = Facts {
        links: links.to_vec(),
        detection_over: world.detection_over,
        ..Facts::default()
    };
    facts.detected_wan = world.detected.and_then(|n| format!("eth{n}").parse().ok());
    facts.wan_lease = world
        .lease
        .map(|(net, far, routes)| lease(world, net, far, routes));
    // Each alone is one that a LAN may have left, perhaps the one in force; the last lies in the
    // one before it.
    let left = [
        "192.168.1.1/24",
        "192.168.2.7/24",
        "10.0.0.1/20",
        "10.0.1.1/24",
    ];
    let bits = left.into_iter().enumerate();
    facts.leaving = bits
        .filter(|(bit, _)| world.leaving & (1 << bit) != 0)
        .filter_map(|(_, network)| network.parse().ok())
        .collect();
    if world.failed {
        facts.data = DataState::Failed {
            reason: "the disk is gone".to_owned(),
        };
    }
    resolve(&config, &facts).kernel
}

pub(crate) fn lease(world: &World, net: u8, far: bool, routes: u8) -> WanLease {
    // Networks 0 to 3 may be the LAN's.
    let address = Ipv4Addr::new(192, 168, net, 77);
    let router = if far {
        Ipv4Addr::new(100, 64, 0, 1)
    } else {
        Ipv4Addr::new(192, 168, net, 254)
    };
    WanLease {
        link: name(&format!("eth{}", world.detected.unwrap_or_default())),
        address,
        prefix_len: if far { 32 } else { 24 },
        router: Some(router),
        dns: vec![router],
        ntp: Vec::new(),
        domain: None,
        mtu: (routes == 1).then_some(1400),
        routes: (0..routes.saturating_sub(1))
            .filter_map(|n| Some((format!("10.{n}.0.0/16").parse().ok()?, router)))
            .collect(),
        server: router,
        bound_unix_s: 0,
        lease_s: 3600,
        renew_s: 1800,
        rebind_s: 3150,
    }
}
