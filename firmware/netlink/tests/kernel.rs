//! Every kind of step against the real kernel, with `ip -j` as the judge.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests do the IO

mod namespace;

use lintel_model::desired::{AddressSpec, RouteSpec, SocketKind, SocketSpec, SysctlSpec};
use lintel_model::nft::{Table, Transaction};
use lintel_model::observed::ObservedState;
use lintel_model::step::Action;
use lintel_netlink::{Effect, Kernel, StepFailure, Watch};
use namespace::{in_namespace, run};

/// A kernel with two pairs of links, `lan0` and `wan0` being our ends.
fn with_ports(name: &'static str, test: impl FnOnce(Kernel) + Send + 'static) {
    in_namespace(name, || {
        for port in ["lan0", "wan0"] {
            run(&format!(
                "ip link add {port} type veth peer name {port}-far"
            ));
        }
        test(Kernel::open().unwrap());
    });
}

fn look(kernel: &mut Kernel) -> ObservedState {
    kernel.observe(&[]).unwrap()
}

fn does(kernel: &mut Kernel, actions: &[Action]) {
    for action in actions {
        kernel.execute(action).unwrap();
    }
}

fn up(name: &str) -> Action {
    set(name, Some(true), None)
}

fn set(name: &str, up: Option<bool>, master: Option<Option<&str>>) -> Action {
    Action::SetLink {
        name: name.parse().unwrap(),
        up,
        master: master.map(|m| m.map(|m| m.parse().unwrap())),
        mtu: None,
        mac: None,
    }
}

fn address(link: &str, address: &str) -> AddressSpec {
    AddressSpec {
        link: link.parse().unwrap(),
        address: address.parse().unwrap(),
    }
}

fn route(destination: &str, gateway: Option<&str>, link: &str, metric: u32) -> RouteSpec {
    RouteSpec {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(|g| g.parse().unwrap()),
        link: link.parse().unwrap(),
        onlink: false,
        source: None,
        metric,
        table: 254,
    }
}

/// Every string and number under `key` in the JSON that `ip -j` printed, without a parser.
fn values(json: &str, key: &str) -> Vec<String> {
    json.split(&format!("\"{key}\":"))
        .skip(1)
        .map(|rest| {
            let end = rest.find([',', '}', ']']).unwrap_or(rest.len());
            rest[..end].trim_matches('"').to_owned()
        })
        .collect()
}

#[test]
fn a_bridge_is_made_filled_set_and_deleted() {
    with_ports("a_bridge_is_made_filled_set_and_deleted", |mut kernel| {
        let mac = "02:00:5e:00:53:01";
        does(
            &mut kernel,
            &[
                Action::CreateBridge {
                    name: "br-lan".parse().unwrap(),
                    mac: Some(mac.parse().unwrap()),
                },
                Action::SetLink {
                    name: "lan0".parse().unwrap(),
                    up: Some(true),
                    master: Some(Some("br-lan".parse().unwrap())),
                    mtu: Some(1400),
                    mac: Some("02:00:5e:00:53:02".parse().unwrap()),
                },
                up("br-lan"),
            ],
        );
        run("ip link set lan0-far up");
        let port = run("ip -j link show lan0");
        assert_eq!(values(&port, "master"), ["br-lan"]);
        assert_eq!(values(&port, "mtu"), ["1400"]);
        assert_eq!(values(&port, "address"), ["02:00:5e:00:53:02"]);
        let bridge = run("ip -j -d link show br-lan");
        assert_eq!(values(&bridge, "info_kind"), ["bridge"]);
        assert_eq!(values(&bridge, "address"), [mac]);
        let seen = look(&mut kernel);
        let link = |name: &str| seen.links.iter().find(|l| l.name.as_str() == name).unwrap();
        assert_eq!(link("br-lan").kind, "bridge");
        assert_eq!(link("br-lan").mac.unwrap().to_string(), mac);
        assert!(link("br-lan").up && link("lan0").up && !link("wan0").up);
        assert!(link("lan0").carrier && !link("wan0").carrier);
        assert!(link("lan0").ethernet);
        assert_eq!(link("lan0").master.as_ref().unwrap().as_str(), "br-lan");
        assert!(!seen.links.iter().any(|l| l.name.as_str() == "lo"));
        assert_eq!(seen.addresses, [], "link-local ones are the kernel's");
        does(
            &mut kernel,
            &[
                set("lan0", None, Some(None)),
                set("lan0", Some(false), None),
                Action::DeleteLink {
                    name: "br-lan".parse().unwrap(),
                },
            ],
        );
        assert!(!run("ip -j link").contains("br-lan"));
    });
}

#[test]
fn addresses_come_and_go_and_are_permanent() {
    with_ports("addresses_come_and_go_and_are_permanent", |mut kernel| {
        let specs = [
            address("lan0", "192.168.1.1/24"),
            address("lan0", "192.168.2.1/25"),
            address("lan0", "fd00:1::1/64"),
            address("lan0", "fe80::1/64"),
        ];
        run("ip addr add 192.168.1.1/24 dev lan0 valid_lft 100 preferred_lft 50");
        does(&mut kernel, &[up("lan0")]);
        for spec in &specs {
            // Twice: the second must find nothing to complain of.
            does(&mut kernel, &[Action::AddAddress(spec.clone())]);
            does(&mut kernel, &[Action::AddAddress(spec.clone())]);
        }
        let mut seen = look(&mut kernel).addresses;
        seen.sort();
        assert_eq!(seen, specs);
        let json = run("ip -j addr show lan0");
        assert!(
            values(&json, "valid_life_time")
                .iter()
                .all(|v| v == "4294967295")
        );
        assert!(values(&json, "broadcast").contains(&"192.168.2.127".to_owned()));
        for spec in &specs {
            does(&mut kernel, &[Action::DeleteAddress(spec.clone())]);
        }
        assert_eq!(look(&mut kernel).addresses, []);
    });
}

#[test]
fn routes_come_and_go_and_foreign_ones_are_reported_and_kept() {
    with_ports("routes_come_and_go", |mut kernel| {
        does(
            &mut kernel,
            &[
                up("wan0"),
                Action::AddAddress(address("wan0", "192.0.2.9/24")),
                Action::AddAddress(address("wan0", "2001:db8::9/64")),
            ],
        );
        run("ip link set wan0-far up");
        run("ip route add 198.51.100.0/24 via 192.0.2.77 metric 5");
        run("ip route add 203.0.113.0/24 dev wan0 table 7");
        let mut specs = vec![
            route("0.0.0.0/0", Some("192.0.2.1"), "wan0", 0),
            RouteSpec {
                source: Some("192.0.2.9".parse().unwrap()),
                ..route("10.0.0.0/8", Some("192.0.2.2"), "wan0", 10)
            },
            RouteSpec {
                onlink: true,
                table: 1000,
                ..route("10.1.0.0/16", Some("172.16.0.1"), "wan0", 3)
            },
            route("10.2.0.0/16", None, "wan0", 0),
            route("::/0", Some("2001:db8::1"), "wan0", 100),
        ];
        for spec in &specs {
            does(&mut kernel, &[Action::ReplaceRoute(spec.clone())]);
        }
        let seen = look(&mut kernel);
        assert_eq!(seen.routes, specs);
        let foreign: Vec<&str> = seen.foreign.iter().map(|f| f.text.as_str()).collect();
        assert_eq!(
            foreign,
            [
                "198.51.100.0/24 via 192.0.2.77 dev wan0 proto 3 metric 5",
                "203.0.113.0/24 dev wan0 proto 3 table 7",
            ]
        );
        let json = run("ip -j route show proto 76");
        assert_eq!(
            values(&json, "dst"),
            ["default", "10.0.0.0/8", "10.2.0.0/16"]
        );
        specs[0].gateway = Some("192.0.2.3".parse().unwrap());
        does(&mut kernel, &[Action::ReplaceRoute(specs[0].clone())]);
        assert_eq!(look(&mut kernel).routes, specs);
        // The kernel would replace it; we do not.
        let theirs = route("198.51.100.0/24", Some("192.0.2.1"), "wan0", 5);
        let refused = kernel
            .execute(&Action::ReplaceRoute(theirs.clone()))
            .unwrap_err();
        assert_eq!(refused.errno(), libc::EEXIST);
        assert!(kernel.execute(&Action::DeleteRoute(theirs)).is_err());
        for spec in specs {
            does(&mut kernel, &[Action::DeleteRoute(spec)]);
        }
        let seen = look(&mut kernel);
        assert_eq!((seen.routes, seen.foreign.len()), (vec![], 2));
    });
}

#[test]
fn a_refusal_says_what_was_attempted_and_why() {
    with_ports("a_refusal_says_what_was_attempted_and_why", |mut kernel| {
        let unreachable = route("10.0.0.0/8", Some("192.0.2.1"), "wan0", 0);
        let refused = kernel
            .execute(&Action::ReplaceRoute(unreachable))
            .unwrap_err();
        assert_eq!(refused.errno(), libc::ENETUNREACH);
        does(&mut kernel, &[up("wan0")]);
        let bad = AddressSpec {
            link: "nowhere0".parse().unwrap(),
            address: "192.0.2.1/24".parse().unwrap(),
        };
        let refused = kernel.execute(&Action::AddAddress(bad)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "looking for link nowhere0: No such device (ENODEV)"
        );
        let refused = kernel
            .execute(&Action::CreateBridge {
                name: "lan0".parse().unwrap(),
                mac: None,
            })
            .unwrap_err();
        assert_eq!(refused.errno(), libc::EEXIST);
        let refused = kernel
            .execute(&set("lan0", None, Some(Some("wan0"))))
            .unwrap_err();
        println!("{refused}");
        assert!(refused.to_string().starts_with("changing link lan0: "));
    });
}

#[test]
fn sysctls_are_read_and_written() {
    with_ports("sysctls_are_read_and_written", |mut kernel| {
        let path = "net/ipv4/conf/lan0/rp_filter";
        let spec = SysctlSpec {
            path: path.to_owned(),
            value: "1".to_owned(),
        };
        does(&mut kernel, &[Action::SetSysctl(spec.clone())]);
        let missing = "net/ipv4/conf/nowhere0/rp_filter".to_owned();
        let seen = kernel
            .observe(&[missing.clone(), path.to_owned()])
            .unwrap()
            .sysctls;
        assert_eq!(seen, [spec]);
        let refused = kernel
            .execute(&Action::SetSysctl(SysctlSpec {
                path: missing,
                value: "1".to_owned(),
            }))
            .unwrap_err();
        assert_eq!(refused.errno(), libc::ENOENT);
    });
}

#[test]
fn a_box_without_rules_is_closed_once() {
    with_ports("a_box_without_rules_is_closed_once", |mut kernel| {
        assert!(kernel.close_unless_ruled().unwrap());
        assert!(!kernel.close_unless_ruled().unwrap());
        let listing = run("nft list table inet lintel");
        assert_eq!(listing.matches("policy drop").count(), 2, "{listing}");
        assert!(listing.contains("iifname \"lo\" accept"), "{listing}");
        assert_eq!(
            look(&mut kernel).nft,
            Some(lintel_netlink::kernel::closed_table())
        );
    });
}

#[test]
fn a_foreign_change_between_look_and_step_is_noticed() {
    with_ports("a_foreign_change_is_noticed", |mut kernel| {
        look(&mut kernel);
        let transaction = Action::Nft(Transaction::ReplaceTable(Table::default()));
        // Our own changes do not make us stale.
        does(&mut kernel, &[transaction.clone(), transaction.clone()]);
        run("nft add table ip theirs");
        let refused = kernel.execute(&transaction).unwrap_err();
        assert!(matches!(refused, StepFailure::Stale(_)), "{refused}");
        let seen = look(&mut kernel);
        assert_eq!(seen.foreign[0].text, "ip theirs");
        does(&mut kernel, &[transaction]);
    });
}

#[test]
fn a_look_writes_nothing_and_steps_are_counted() {
    with_ports("a_look_writes_nothing", |mut kernel| {
        look(&mut kernel);
        assert_eq!(kernel.writes(), 0);
        does(&mut kernel, &[up("lan0")]);
        assert_eq!(kernel.writes(), 1);
    });
}

#[test]
fn packet_sockets_see_only_what_their_filter_lets_through() {
    use std::io::{Read, Write};

    with_ports("packet_sockets", |mut kernel| {
        for link in ["lan0", "lan0-far"] {
            run(&format!("ip link set {link} up"));
        }
        let mut open = |kind, link: &str| {
            let spec = SocketSpec {
                link: link.parse().unwrap(),
                kind,
            };
            match kernel.execute(&Action::OpenSocket(spec)).unwrap() {
                Effect::Opened { fd, .. } => std::fs::File::from(fd),
                other => panic!("{other:?}"),
            }
        };
        let mut near = open(SocketKind::DhcpServer, "lan0");
        let mut far = open(SocketKind::DhcpClient, "lan0-far");
        let mut frame = vec![0xff; 12];
        frame.extend_from_slice(&[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.resize(60, 0);
        near.write_all(&frame).unwrap();
        let mut got = [0; 100];
        assert_eq!(far.read(&mut got).unwrap(), 60);
        assert_eq!(got[..60], frame);
        // A request is none of the server's business; a reply is.
        far.write_all(&frame).unwrap();
        frame[21] = 2;
        far.write_all(&frame).unwrap();
        assert_eq!(near.read(&mut got).unwrap(), 60);
        assert_eq!(got[21], 2);
        assert!(near.read(&mut got).is_err());
    });
}

#[test]
fn changes_are_heard_and_lost_notices_lead_to_the_same_state() {
    with_ports("changes_are_heard", |mut kernel| {
        let mut watch = Watch::open_sized(4096).unwrap();
        assert!(!watch.drain().unwrap().changed);
        run("nft add table ip theirs");
        let heard = watch.drain().unwrap();
        assert!(heard.changed && !heard.lost);
        assert!(!watch.drain().unwrap().changed);
        run("ip link set lan0 up");
        let burst: String = (0..200)
            .map(|n| format!("addr add 10.0.{n}.1/24 dev lan0\n"))
            .collect();
        let file = std::env::temp_dir().join(format!("lintel-burst-{}", std::process::id()));
        std::fs::write(&file, burst).unwrap();
        run(&format!("ip -batch {}", file.display()));
        std::fs::remove_file(&file).unwrap();
        let heard = watch.drain().unwrap();
        assert!(heard.changed && heard.lost);
        assert_eq!(look(&mut kernel).addresses.len(), 200);
        // And it hears again, once what the kernel does by itself (duplicate address
        // detection) is through.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while watch.drain().unwrap().changed {
            assert!(std::time::Instant::now() < end, "the kernel never rests");
        }
        run("ip link set lan0 down");
        assert!(watch.drain().unwrap().changed);
    });
}
