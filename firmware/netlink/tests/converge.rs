//! The planner's own plans against the real kernel: they end, at once, where nothing is left to do.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests do the IO

mod namespace;

use std::net::Ipv4Addr;

use lintel_model::config::Config;
use lintel_model::desired::{DesiredState, SocketSpec};
use lintel_model::facts::Facts;
use lintel_model::lease::WanLease;
use lintel_model::observed::ObservedState;
use lintel_model::step::Plan;
use lintel_netlink::{Effect, Kernel};
use namespace::{in_namespace, run};

/// netd and controld in a loop, without what lies between.
struct Router {
    kernel: Kernel,
    config: Config,
    facts: Facts,
    sockets: Vec<(SocketSpec, std::os::fd::OwnedFd)>,
}

impl Router {
    fn new() -> Self {
        for port in ["wan0", "lan0", "lan1"] {
            run(&format!(
                "ip link add {port} type veth peer name {port}-far"
            ));
            run(&format!("ip link set {port}-far up"));
        }
        let mut config = Config::default();
        config.wan.port = "wan0".to_owned().try_into().unwrap();
        config.lan.ports = vec!["lan0".parse().unwrap(), "lan1".parse().unwrap()];
        Self {
            kernel: Kernel::open().unwrap(),
            config,
            // Ports are pairs of virtual links here.
            facts: Facts {
                run: true,
                ..Facts::default()
            },
            sockets: Vec::new(),
        }
    }

    fn desired(&self) -> DesiredState {
        lintel_plan::resolve(&self.config, &self.facts).kernel
    }

    fn look(&mut self) -> ObservedState {
        let paths: Vec<String> = self.desired().sysctls.into_iter().map(|s| s.path).collect();
        let mut observed = self.kernel.observe(&paths).unwrap();
        observed.sockets = self.sockets.iter().map(|(spec, _)| spec.clone()).collect();
        observed.sockets.sort();
        self.facts.links = observed.links.clone();
        observed
    }

    fn plan(&mut self) -> Plan {
        let observed = self.look();
        lintel_plan::diff(&self.desired(), &observed)
    }

    fn apply(&mut self, plan: &Plan) {
        for step in &plan.steps {
            match self.kernel.execute(&step.action) {
                Ok(Effect::Done) => {}
                Ok(Effect::Opened { spec, fd, .. }) => self.sockets.push((spec, fd)),
                Ok(Effect::Close(spec)) => self.sockets.retain(|(s, _)| *s != spec),
                Err(failure) => panic!("{:?}: {failure}", step.action),
            }
        }
    }

    /// Applies plans until one is empty; returns how many were not.
    fn converge(&mut self) -> usize {
        for rounds in 0..10 {
            let plan = self.plan();
            if plan.is_empty() {
                return rounds;
            }
            self.apply(&plan);
        }
        panic!("still to do: {:#?}", self.plan().steps);
    }

    fn lease(&mut self, address: [u8; 4]) {
        self.facts.wan_lease = Some(WanLease {
            link: "wan0".parse().unwrap(),
            address: address.into(),
            prefix_len: 24,
            router: Some(Ipv4Addr::new(192, 0, 2, 254)),
            dns: vec![],
            ntp: vec![],
            domain: None,
            mtu: None,
            routes: vec![],
            server: Ipv4Addr::new(192, 0, 2, 254),
            bound_unix_s: 0,
            lease_s: 3600,
            renew_s: 1800,
            rebind_s: 3150,
        });
    }
}

#[test]
fn a_box_converges_from_nothing_through_a_lease_and_back() {
    in_namespace("a_box_converges_from_nothing", || {
        let mut bare = Router::new();
        bare.kernel.close_unless_ruled().unwrap();
        run("nft add table ip theirs");
        run("ip link set lo up");
        run("ip route add 203.0.113.0/24 dev lo");
        let foreign = |kernel: &mut Kernel| kernel.observe(&[]).unwrap().foreign;
        let theirs = foreign(&mut bare.kernel);
        let begun = bare.converge();
        bare.lease([192, 0, 2, 9]);
        let leased = bare.converge();
        println!("rounds: {begun} from nothing, {leased} for a lease");
        assert!((1..=2).contains(&begun) && leased == 1);
        assert_eq!(
            run("ip -4 route show default").trim(),
            "default via 192.0.2.254 dev wan0 proto 76 src 192.0.2.9 metric 76"
        );
        assert_eq!(run("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
        // What nft prints of the planner's table, it also reads.
        let listing = run("nft -j list table inet lintel");
        assert!(listing.contains("masquerade"), "{listing}");
        // Nothing to do writes nothing.
        let writes = bare.kernel.writes();
        let plan = bare.plan();
        bare.apply(&plan);
        assert_eq!(bare.kernel.writes(), writes);
        // Another lease edits; the chains and their counters stay.
        bare.lease([192, 0, 2, 77]);
        bare.converge();
        assert!(run("ip -4 addr show wan0").contains("192.0.2.77/24"));
        assert!(!run("ip -4 addr show wan0").contains("192.0.2.9/24"));
        bare.facts.wan_lease = None;
        bare.converge();
        assert_eq!(run("ip -4 route show default"), "");
        assert_eq!(foreign(&mut bare.kernel), theirs);
    });
}

#[test]
fn what_others_break_is_mended() {
    in_namespace("what_others_break_is_mended", || {
        let mut whole = Router::new();
        whole.lease([192, 0, 2, 9]);
        whole.converge();
        for breaking in [
            "nft delete table inet lintel",
            "nft add rule inet lintel forward accept",
            "nft flush set inet lintel bogons",
            "ip link set lan0 nomaster",
            "ip link del br-lan",
            "ip addr flush dev wan0",
            "ip route del default",
            "ip link set wan0 down",
            "sysctl -q -w net.ipv4.conf.all.rp_filter=0",
        ] {
            run(breaking);
            assert!(!whole.plan().is_empty(), "{breaking}");
            whole.converge();
        }
    });
}
