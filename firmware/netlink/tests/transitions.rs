//! From one configuration to another in the real kernel: the same as on a fresh box, as `ip`, `nft`
//! and `tc` tell it.
//!
//! The pairs are dice with fixed seeds; `LINTEL_PAIR=17` plays one of them alone. What no namespace
//! has is not judged here: hardware (a pair of virtual links stands for each port) and the sockets
//! beyond their opening. Carriers come and go as they like and are left out.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests do the IO

mod namespace;
#[allow(dead_code, reason = "the fake kernel's part")]
#[path = "../../plan/tests/worlds/mod.rs"]
mod worlds;

use std::os::fd::OwnedFd;
use std::time::Instant;

use lintel_model::desired::SocketSpec;
use lintel_model::observed::ObservedState;
use lintel_netlink::{Effect, Kernel};
use namespace::{in_namespace, run};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value};
use worlds::{World, wish_among, world};

const PAIRS: u8 = 50;
/// Plans from one configuration to another: the second is for what the first made.
const PLANS_MAX: usize = 3;

#[test]
fn fifty_pairs_end_as_on_a_fresh_box() {
    let alone = std::env::var("LINTEL_PAIR").ok();
    let alone: Option<u8> = alone.map(|number| number.parse().unwrap());
    let begun = Instant::now();
    let mut plans = 0;
    for number in alone.map_or(0..PAIRS, |number| number..number + 1) {
        let (a, b) = pair(number);
        let Some((fresh, _)) = in_a_box(std::slice::from_ref(&b)) else {
            println!("SKIPPED fifty_pairs_end_as_on_a_fresh_box: needs root or `unshare -Ur`");
            return;
        };
        let (changed, rounds) = in_a_box(&[a.clone(), b.clone()]).unwrap();
        plans += rounds;
        let differs = differences(&fresh, &changed);
        assert!(
            differs.is_empty(),
            "again with LINTEL_PAIR={number}; from {a:?} to {b:?}:\n{}",
            differs.join("\n")
        );
    }
    let ms = begun.elapsed().as_millis();
    println!("{PAIRS} pairs, {plans} plans, {ms} ms: each as on a fresh box");
}

fn pair(number: u8) -> (World, World) {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[number; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let pair = (world(), world()).new_tree(&mut runner).unwrap();
    pair.current()
}

/// What the judges tell of a new box after these configurations, and how many plans it took.
fn in_a_box(worlds: &[World]) -> Option<(Value, usize)> {
    let worlds = worlds.to_vec();
    let (said, heard) = std::sync::mpsc::channel();
    in_namespace("a box", move || {
        let mut one = Box::bare();
        let plans = worlds.iter().map(|world| one.take(world)).sum();
        said.send((told(), plans)).unwrap();
    });
    heard.try_recv().ok()
}

/// netd and controld in a loop, without what lies between.
struct Box {
    kernel: Kernel,
    sockets: Vec<(SocketSpec, OwnedFd)>,
}

impl Box {
    /// Three ports, and what is nobody's business.
    fn bare() -> Self {
        for port in 0..3 {
            run(&format!(
                "ip link add eth{port} address 52:54:00:00:00:0{port} type veth peer name far{port}"
            ));
            run(&format!("ip link set far{port} up"));
            // Its queue comes with the first time that it is up, and stays.
            run(&format!("ip link set eth{port} up"));
            run(&format!("ip link set eth{port} down"));
        }
        run("ip link add theirs address 52:54:00:00:00:99 type bridge");
        run("ip address add 10.99.0.1/24 dev theirs");
        run("ip link set theirs up");
        run("ip route add 203.0.113.0/24 dev theirs");
        run("nft add table ip theirs");
        let mut kernel = Kernel::open().unwrap();
        kernel.close_unless_ruled().unwrap();
        Self {
            kernel,
            sockets: Vec::new(),
        }
    }

    /// The ports as if they were hardware; their far ends are nowhere.
    fn look(&mut self, sysctls: &[String]) -> ObservedState {
        let mut seen = self.kernel.observe(sysctls).unwrap();
        seen.links
            .retain(|link| !link.name.as_str().starts_with("far"));
        for link in &mut seen.links {
            if link.kind == "veth" {
                link.kind.clear();
            }
        }
        seen.sockets = self.sockets.iter().map(|(spec, _)| spec.clone()).collect();
        seen.sockets.sort();
        seen
    }

    /// Goes there; returns how many plans it took.
    fn take(&mut self, world: &World) -> usize {
        for plans in 0..=PLANS_MAX {
            let links = self.look(&[]).links;
            let desired = wish_among(world, &links);
            let paths: Vec<String> = desired.sysctls.iter().map(|s| s.path.clone()).collect();
            let seen = self.look(&paths);
            let plan = lintel_plan::diff(&desired, &seen);
            if plan.is_empty() {
                return plans;
            }
            for step in &plan.steps {
                match self.kernel.execute(&step.action) {
                    Ok(Effect::Done) => {}
                    Ok(Effect::Opened { spec, fd, .. }) => self.sockets.push((spec, fd)),
                    Ok(Effect::Close(spec)) => self.sockets.retain(|(s, _)| *s != spec),
                    Err(failure) => panic!("{failure}: {:?}\nof\n{}", step, plan.to_text()),
                }
            }
        }
        panic!("no end after {PLANS_MAX} plans: {world:?}");
    }
}

/// What the judges say, without what counts, what time does and in which order things were made.
fn told() -> Value {
    let judges = [
        ("link", "ip -j -d link show"),
        ("address", "ip -j address show"),
        ("route", "ip -j route show table all"),
        ("rule", "ip -j rule show"),
        ("route6", "ip -j -6 route show table all"),
        ("ruleset", "nft -j list ruleset"),
        ("qdisc", "tc -j qdisc show"),
        ("forwarding", "cat /proc/sys/net/ipv4/ip_forward"),
    ];
    let mut all = Map::new();
    for (name, command) in judges {
        let mut told = serde_json::from_str(&run(command)).unwrap();
        if name == "ruleset" {
            told = ruleset(&told);
        }
        normalise(&mut told);
        all.insert(name.to_owned(), told);
    }
    Value::Object(all)
}

/// Every object under its name; the order of rules in a chain is part of what they say.
fn ruleset(told: &Value) -> Value {
    let mut objects = Map::new();
    for object in told["nftables"].as_array().unwrap() {
        let (kind, content) = object.as_object().unwrap().iter().next().unwrap();
        let word = |key: &str| content[key].as_str().unwrap_or_default().to_owned();
        match kind.as_str() {
            "metainfo" => {}
            "rule" => {
                let key = format!(
                    "rules of {} {} {}",
                    word("family"),
                    word("table"),
                    word("chain")
                );
                let rules = objects.entry(key).or_insert(Value::Array(Vec::new()));
                // As text: its order is not for `normalise`.
                let mut content = content.clone();
                normalise(&mut content);
                rules.as_array_mut().unwrap().push(content);
            }
            kind => {
                let key = format!(
                    "{kind} {} {} {}",
                    word("family"),
                    word("table"),
                    word("name")
                );
                objects.insert(key, content.clone());
            }
        }
    }
    // Joined, so that nobody sorts them.
    for (key, rules) in &mut objects {
        if key.starts_with("rules of") {
            *rules = Value::String(rules.to_string());
        }
    }
    Value::Object(objects)
}

fn normalise(value: &mut Value) {
    /// Given in the order of making, counted, or done by time and carriers; and timers.
    const LEFT_OUT: [&str; 25] = [
        "handle",
        "ifindex",
        "link_index",
        "index",
        "packets",
        "bytes",
        "operstate",
        "carrier",
        "valid_life_time",
        "preferred_life_time",
        "tentative",
        "root_path_cost",
        "root_port",
        "topology_change",
        "topology_change_detected",
        "topology_change_ack",
        "root_id",
        "bridge_id",
        "designated_port",
        "tso_max_size",
        "tso_max_segs",
        "designated_cost",
        "no",
        "id",
        "state",
    ];
    let left_out = |key: &str| LEFT_OUT.contains(&key) || key.ends_with("_timer");
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !left_out(key));
            fields.values_mut().for_each(normalise);
        }
        Value::Array(items) => {
            items.retain(|item| {
                let word = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
                // The kernel's own, which follow the carrier; and the ends that stand for cables.
                let local = word("scope") == "link" && word("family") == "inet6";
                let six = word("dst").contains(':') && word("protocol") == "kernel";
                let far = word("ifname").starts_with("far") || word("dev").starts_with("far");
                let flag = ["LOWER_UP", "NO-CARRIER", "M-DOWN", "linkdown"];
                let flag = item.as_str().is_some_and(|item| flag.contains(&item));
                !(local || six || far || flag)
            });
            items.iter_mut().for_each(normalise);
            items.sort_by_key(Value::to_string);
        }
        _ => {}
    }
}

/// Where two trees differ, as paths.
fn differences(fresh: &Value, changed: &Value) -> Vec<String> {
    match (fresh, changed) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let mut found = Vec::new();
            for key in keys {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                let inner = differences(&of(a), &of(b));
                found.extend(inner.into_iter().map(|text| format!("{key}.{text}")));
            }
            found
        }
        (Value::Array(a), Value::Array(b)) => {
            let only = |these: &[Value], others: &[Value], what: &str| {
                let only = these.iter().filter(|item| !others.contains(item));
                only.map(|item| format!(" only {what}: {item}"))
                    .collect::<Vec<_>>()
            };
            let mut found = only(a, b, "fresh");
            found.extend(only(b, a, "changed"));
            found
        }
        (a, b) if a == b => Vec::new(),
        (a, b) => vec![format!(" {a} fresh, {b} changed")],
    }
}
