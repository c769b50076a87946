//! Bindings, names, the WAN's lease and port.

use embassy_time::Duration;
use lintel_ipc::dhcpd::FromDhcpd;
use lintel_ipc::wand::FromWand;
use lintel_model::facts::NoticeCode;
use lintel_model::lease::{Binding, BindingState, WanLease};
use lintel_model::services::WanSpec;
use serde_json::json;

use super::*;

pub(super) fn binding(n: u8, name: Option<&str>) -> Binding {
    Binding {
        address: Ipv4Addr::new(192, 168, 1, 100 + n),
        mac: mac(n),
        client_id: Vec::new(),
        host_name: name.map(str::to_owned),
        bound_unix_s: UNIX_S + u64::from(n),
        expires_unix_s: UNIX_S + 3600,
        state: BindingState::Bound,
    }
}

/// A binding as dhcpd tells it whose clock never leapt.
pub(super) fn bind(token: u64, binding: Binding) -> FromDhcpd {
    FromDhcpd::Bind {
        token,
        binding,
        start_unix_s: START_UNIX_S,
    }
}

fn durable(bench: &Bench) -> Vec<u64> {
    let messages = bench.dhcp.iter();
    messages
        .filter_map(|message| match message {
            ToDhcpd::Durable { token } => Some(*token),
            _ => None,
        })
        .collect()
}

fn refused(bench: &Bench) -> Vec<u64> {
    let messages = bench.dhcp.iter();
    messages
        .filter_map(|message| match message {
            ToDhcpd::NotDurable { token } => Some(*token),
            _ => None,
        })
        .collect()
}

fn names(bench: &Bench) -> Vec<String> {
    let last = bench.dns.iter().rev().find_map(|message| match message {
        ToDnsd::Spec(spec) => Some(spec),
        ToDnsd::Flush => None,
    });
    let hosts = last.unwrap().hosts.iter();
    hosts
        .map(|host| format!("{}={}", host.name, host.address))
        .collect()
}

#[test]
fn a_binding_is_in_the_store_before_dhcpd_hears_so() {
    let mut bench = Bench::settled();
    let group = vec![
        bind(7, binding(1, Some("laptop"))),
        bind(8, binding(2, None)),
    ];
    bench.input(Input::Dhcpd(group));
    assert_eq!(durable(&bench), [7, 8]);
    assert_eq!(bench.core.store.bindings().unwrap().len(), 2);
    bench.pass_ms(1000);
    assert_eq!(names(&bench), ["laptop=192.168.1.101"]);
    // A new session of dhcpd begins with them.
    bench.input(Input::Session(RoleName::Dhcpd));
    assert!(matches!(
        bench.dhcp.last(),
        Some(ToDhcpd::Snapshot { bindings, .. }) if bindings.len() == 2
    ));
}

#[test]
fn a_network_that_comes_late_or_back_comes_with_its_bindings() {
    let mut before = Bench::settled();
    before.input(Input::Dhcpd(vec![bind(1, binding(1, None))]));
    let mut bench = Bench::new(start(), before.core.store);
    bench.input(Input::Session(RoleName::Dhcpd));
    bench.input(Input::Session(RoleName::Netd));
    let told = |bench: &mut Bench| {
        let last = bench.dhcp.pop();
        let Some(ToDhcpd::Snapshot { spec, bindings, .. }) = last else {
            panic!("{last:?}");
        };
        (spec.subnets.len(), bindings.len())
    };
    // The bridge was made after dhcpd's session began.
    assert!(matches!(
        bench.dhcp.first(),
        Some(ToDhcpd::Snapshot { spec, .. }) if spec.subnets.is_empty()
    ));
    assert_eq!(told(&mut bench), (1, 1));
    bench.apply("[dhcp]\nenabled = false\n").unwrap();
    assert_eq!(told(&mut bench).0, 0);
    bench.apply("").unwrap();
    assert_eq!(told(&mut bench), (1, 1));
}

#[test]
fn bindings_that_dhcpd_cannot_have_given_are_refused() {
    let mut bench = Bench::settled();
    let own = Binding {
        address: Ipv4Addr::new(192, 168, 1, 1),
        ..binding(1, None)
    };
    let elsewhere = Binding {
        address: Ipv4Addr::new(8, 8, 8, 8),
        ..binding(1, None)
    };
    let endless = Binding {
        expires_unix_s: u64::MAX,
        ..binding(1, None)
    };
    let group = vec![bind(1, own), bind(2, elsewhere), bind(3, endless)];
    bench.input(Input::Dhcpd(group));
    assert_eq!(refused(&bench), [1, 2, 3]);
    let evil = binding(4, Some("evil\x1b[2J"));
    bench.input(Input::Dhcpd(vec![bind(4, evil)]));
    assert_eq!(bench.core.store.bindings().unwrap()[0].host_name, None);
}

#[test]
fn names_are_unique_and_the_householder_wins() {
    let mut bench = Bench::settled();
    let toml = "[[dhcp.reservations]]\nmac = \"02:00:00:00:00:09\"\naddress = \"192.168.1.9\"\nname = \"printer\"\n";
    bench.apply(toml).unwrap();
    let group = vec![
        bind(1, binding(1, Some("phone"))),
        bind(2, binding(2, Some("Phone"))),
        bind(3, binding(3, Some("printer"))),
        bind(4, binding(4, Some("lintel"))),
    ];
    bench.input(Input::Dhcpd(group));
    bench.pass_ms(1000);
    // The later of the two phones; the reservation's printer; never the box's own name.
    assert_eq!(
        names(&bench),
        ["Phone=192.168.1.102", "printer=192.168.1.9"]
    );
}

#[test]
fn a_renewal_tells_dnsd_nothing_and_a_crowd_is_few_messages() {
    let mut bench = Bench::settled();
    bench.pass_ms(1000);
    let before = bench.dns.len();
    for n in 1..100 {
        let name = format!("host-{n}");
        bench.input(Input::Dhcpd(vec![bind(n, binding(n as u8, Some(&name)))]));
        bench.pass_ms(1);
    }
    bench.pass_ms(1000);
    assert!(
        bench.dns.len() - before <= 3,
        "{}",
        bench.dns.len() - before
    );
    let after = bench.dns.len();
    let renewed = Binding {
        expires_unix_s: UNIX_S + 7200,
        ..binding(5, Some("host-5"))
    };
    bench.input(Input::Dhcpd(vec![bind(500, renewed)]));
    bench.pass_ms(1000);
    assert_eq!(bench.dns.len(), after);
}

#[test]
fn a_name_goes_with_its_lease() {
    let mut bench = Bench::settled();
    bench.input(Input::Dhcpd(vec![bind(1, binding(1, Some("guest")))]));
    bench.pass_ms(1000);
    assert_eq!(names(&bench), ["guest=192.168.1.101"]);
    bench.pass_ms(3_700_000);
    assert!(names(&bench).is_empty());
}

#[test]
fn a_full_disk_refuses_new_devices_and_says_so_until_there_is_room() {
    let mut bench = Bench::settled();
    bench.core.store.set_pages_max(1).unwrap();
    let crowd = |from: u64| {
        let all = (0..100u64).map(move |n| {
            let long = vec![0xaa; 250];
            bind(
                from + n,
                Binding {
                    client_id: long,
                    ..binding(n as u8, None)
                },
            )
        });
        Input::Dhcpd(all.collect())
    };
    bench.input(crowd(1));
    assert_eq!(refused(&bench).len(), 100);
    let codes: Vec<_> = bench.status().notices.iter().map(|n| n.code).collect();
    assert!(codes.contains(&NoticeCode::DataFailed), "{codes:?}");
    let problem = bench
        .apply(&format!("# {}\n", "x".repeat(9000)))
        .unwrap_err();
    assert_eq!(problem.kind, "cannot-store");
    assert_eq!(bench.core.active.revision, Some(1));
    bench.core.store.set_pages_max(10_000).unwrap();
    bench.input(crowd(1000));
    assert_eq!(durable(&bench).len(), 100);
    let codes: Vec<_> = bench.status().notices.iter().map(|n| n.code).collect();
    assert!(!codes.contains(&NoticeCode::DataFailed), "{codes:?}");
}

#[test]
fn a_full_disk_is_tried_again_until_it_takes_what_waits() {
    let mut bench = Bench::settled();
    let told = |bench: &mut Bench| {
        let notices = bench.status().notices;
        notices.iter().any(|n| n.code == NoticeCode::DataFailed)
    };
    bench.core.store.set_pages_max(1).unwrap();
    // Too long for the pages that are there.
    let mut lease = wan_lease(UNIX_S);
    lease.routes = (1..=64)
        .map(|n| (format!("10.{n}.0.0/16").parse().unwrap(), lease.server))
        .collect();
    bench.input(Input::Wand(FromWand::Lease(lease.clone())));
    assert!(told(&mut bench));
    assert_eq!(bench.core.facts.wan_lease, Some(lease.clone()), "in use");
    bench.pass_ms(60_000);
    assert!(told(&mut bench), "six tries, and still no room");
    bench.core.store.set_pages_max(10_000).unwrap();
    let again = bench.core.deadline().unwrap();
    assert!(again <= bench.now().mono + Duration::from_secs(10));
    bench.pass_ms(10_000);
    assert!(!told(&mut bench), "nothing else was to be written");
    assert_eq!(bench.core.store.wan_lease().unwrap(), Some(lease));
    let writes = bench.core.store.writes();
    bench.pass_ms(600_000);
    assert_eq!(bench.core.store.writes(), writes, "no more tries");
}

#[test]
fn the_householder_ends_a_lease() {
    let mut bench = Bench::settled();
    bench.input(Input::Dhcpd(vec![bind(1, binding(1, Some("tv")))]));
    bench
        .local("dhcp.leases.delete", json!({"ip": "192.168.1.101"}))
        .unwrap();
    assert!(bench.dhcp.contains(&ToDhcpd::Forget {
        address: Ipv4Addr::new(192, 168, 1, 101)
    }));
    assert!(bench.core.store.bindings().unwrap().is_empty());
    let again = bench.local("dhcp.leases.delete", json!({"ip": "192.168.1.101"}));
    assert_eq!(again.unwrap_err().status, 404);
}

pub(super) fn wan_lease(bound_unix_s: u64) -> WanLease {
    WanLease {
        link: "eth1".parse().unwrap(),
        address: Ipv4Addr::new(203, 0, 113, 7),
        prefix_len: 24,
        router: Some(Ipv4Addr::new(203, 0, 113, 1)),
        dns: vec![Ipv4Addr::new(203, 0, 113, 53)],
        ntp: Vec::new(),
        domain: None,
        mtu: None,
        routes: Vec::new(),
        server: Ipv4Addr::new(203, 0, 113, 1),
        bound_unix_s,
        lease_s: 3600,
        renew_s: 1800,
        rebind_s: 3150,
    }
}

#[test]
fn a_lease_leads_to_addresses_routes_and_resolvers() {
    let mut bench = Bench::settled();
    let lease = wan_lease(UNIX_S);
    bench.input(Input::Wand(FromWand::Lease(lease.clone())));
    bench.pass_ms(1000);
    assert!(bench.status().wan.online);
    assert!(format!("{:?}", bench.kernel.state.routes).contains("203.0.113.1"));
    assert!(bench.dns.iter().any(|message| matches!(message,
        ToDnsd::Spec(spec) if spec.upstreams == ["203.0.113.53:53".parse().unwrap()])));
    assert_eq!(bench.core.store.wan_lease().unwrap(), Some(lease));
    let gone = FromWand::Lost {
        link: "eth1".parse().unwrap(),
        reason: "over".to_owned(),
    };
    bench.input(Input::Wand(gone));
    assert!(!bench.status().wan.online);
    assert!(bench.kernel.state.routes.is_empty());
    assert_eq!(bench.core.store.wan_lease().unwrap(), None);
}

#[test]
fn a_lease_that_cannot_be_is_not_believed() {
    let mut bench = Bench::settled();
    for lease in [
        WanLease {
            link: "br-lan".parse().unwrap(),
            ..wan_lease(UNIX_S)
        },
        WanLease {
            address: Ipv4Addr::LOCALHOST,
            ..wan_lease(UNIX_S)
        },
        WanLease {
            prefix_len: 33,
            ..wan_lease(UNIX_S)
        },
    ] {
        bench.input(Input::Wand(FromWand::Lease(lease)));
        assert_eq!(bench.core.facts.wan_lease, None);
    }
}

#[test]
fn a_renewed_wan_lease_is_noted_and_a_new_one_written() {
    let mut bench = Bench::settled();
    let stored = |bench: &Bench| bench.core.store.wan_lease().unwrap().unwrap().bound_unix_s;
    bench.input(Input::Wand(FromWand::Lease(wan_lease(UNIX_S))));
    bench.pass_ms(60_000);
    bench.input(Input::Wand(FromWand::Lease(wan_lease(UNIX_S + 60))));
    assert_eq!(stored(&bench), UNIX_S);
    bench.pass_ms(4 * 3_600_000);
    assert_eq!(stored(&bench), UNIX_S + 60, "noted with the time");
    let other = WanLease {
        address: Ipv4Addr::new(203, 0, 113, 8),
        ..wan_lease(UNIX_S + 15_000)
    };
    bench.input(Input::Wand(FromWand::Lease(other)));
    assert_eq!(stored(&bench), UNIX_S + 15_000);
    bench.input(Input::Wand(FromWand::Lease(WanLease {
        address: Ipv4Addr::new(203, 0, 113, 8),
        ..wan_lease(UNIX_S + 15_100)
    })));
    bench.input(Input::Stop);
    assert_eq!(
        stored(&bench),
        UNIX_S + 15_100,
        "an orderly stop writes the last word"
    );
}

#[test]
fn a_renewal_costs_a_write_only_when_the_disk_would_forget_it() {
    const LEASE_S: u64 = 1000;
    let mut bench = Bench::settled();
    let renew = |bench: &mut Bench, n: u8| {
        let now = bench.now().unix_s;
        let renewed = Binding {
            bound_unix_s: now,
            expires_unix_s: now + LEASE_S,
            ..binding(n, None)
        };
        let before = bench.core.store.writes();
        bench.input(Input::Dhcpd(vec![bind(1, renewed.clone())]));
        assert_eq!(durable(bench).last(), Some(&1));
        let rows = bench.core.store.bindings().unwrap();
        let row = rows.iter().find(|row| row.address == renewed.address);
        assert!(row.unwrap().expires_unix_s >= renewed.expires_unix_s);
        bench.core.store.writes() - before
    };
    let mut writes = Vec::new();
    for _ in 0..6 {
        for n in 1..4 {
            writes.push(renew(&mut bench, n));
        }
        bench.pass_ms(LEASE_S * 500);
    }
    // Three rows once, then three in one flush now and then.
    assert_eq!(
        writes,
        [1, 1, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 3, 0]
    );
    // Another client on the address, or one that leaves, is written at once.
    let mut other = binding(1, Some("other"));
    let before = bench.core.store.writes();
    bench.input(Input::Dhcpd(vec![bind(1, other.clone())]));
    assert!(bench.core.store.writes() > before);
    let before = bench.core.store.writes();
    other.state = BindingState::Released;
    other.expires_unix_s = other.bound_unix_s;
    bench.input(Input::Dhcpd(vec![bind(1, other.clone())]));
    assert!(bench.core.store.writes() > before);
    let rows = bench.core.store.bindings().unwrap();
    assert!(rows.contains(&other));
}

#[test]
fn the_last_word_of_an_address_counts_when_two_come_together() {
    let mut bench = Bench::settled();
    let ours = binding(1, Some("laptop"));
    let stranger = Binding {
        mac: mac(9),
        ..ours.clone()
    };
    bench.input(Input::Dhcpd(vec![bind(1, ours.clone())]));
    for (earlier, last) in [(&stranger, &ours), (&ours, &stranger), (&stranger, &ours)] {
        let both = vec![bind(1, earlier.clone()), bind(2, last.clone())];
        bench.input(Input::Dhcpd(both));
        let rows = bench.core.store.bindings().unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].mac, last.mac);
        assert_eq!(bench.core.bindings[&last.address], *last);
    }
}

#[test]
fn a_lease_kept_over_a_boot_is_offered_while_it_runs() {
    for (age, kept) in [(10, true), (4000, false)] {
        let mut store = Store::memory().unwrap();
        store.set_wan_lease(Some(&wan_lease(UNIX_S - age))).unwrap();
        let mut bench = Bench::new(start(), store);
        bench.join_all();
        let Some(ToWand::Spec { spec, lease }) = bench.wan.last() else {
            panic!("{:?}", bench.wan);
        };
        assert!(matches!(spec, WanSpec::Dhcp { .. }));
        assert_eq!(lease.is_some(), kept, "age {age}");
    }
}

fn unlabelled() -> Start {
    Start {
        board: BoardSpec::default(),
        ..start()
    }
}

#[test]
fn the_port_on_which_a_provider_answers_becomes_the_wan_and_stays_it() {
    let mut bench = Bench::new(unlabelled(), Store::memory().unwrap());
    bench.join_all();
    assert!(matches!(
        bench.wan.last(),
        Some(ToWand::Spec { spec: WanSpec::Detect { links }, .. }) if links.len() == 2
    ));
    let seen = FromWand::ServerSeen {
        link: "eth0".parse().unwrap(),
    };
    bench.input(Input::Wand(seen));
    assert_eq!(bench.status().wan.link.unwrap().as_str(), "eth0");
    let port = bench.core.store.detected_wan().unwrap().unwrap();
    assert_eq!(port.to_string(), "path:pci-0000:00:02.0");
    assert!(bench.core.facts.detection_over);
    assert!(bench.core.converge.is_settled());
}

#[test]
fn without_a_provider_every_port_serves_the_household_after_the_search() {
    let mut bench = Bench::new(unlabelled(), Store::memory().unwrap());
    bench.join_all();
    assert!(bench.status().lan.ports.is_empty());
    bench.pass_ms(9_000);
    assert_eq!(bench.status().lan.ports.len(), 2);
    // The modem is plugged in later: found all the same.
    let seen = FromWand::ServerSeen {
        link: "eth1".parse().unwrap(),
    };
    bench.input(Input::Wand(seen));
    assert_eq!(bench.status().wan.link.unwrap().as_str(), "eth1");
    assert_eq!(bench.status().lan.ports.len(), 1);
}
