//! What happens is told: typed, in order, bounded, and by numbers that never come again.

use lintel_ipc::init::{ServiceState, ServiceStatus};
use lintel_ipc::timed::FromTimed;
use lintel_ipc::wand::FromWand;
use serde_json::json;

use super::*;

impl Bench {
    fn kinds(&self) -> Vec<String> {
        let kind = |event: &Happened| event.data["type"].as_str().unwrap().to_owned();
        self.events.iter().map(kind).collect()
    }

    fn bind(&mut self, n: u8, lasts_s: u64) {
        let unix_s = self.now().unix_s;
        let binding = lintel_model::lease::Binding {
            bound_unix_s: unix_s,
            expires_unix_s: unix_s + lasts_s,
            ..super::leases::binding(n, Some("phone"))
        };
        let bind = super::leases::bind(1, binding);
        self.input(Input::Dhcpd(vec![bind]));
    }

    fn link(&mut self, name: &str, carrier: bool) {
        let links = &mut self.kernel.state.links;
        let link = links.iter_mut().find(|link| link.name.as_str() == name);
        link.unwrap().carrier = carrier;
        let look = self.look();
        self.input(Input::Netd(FromNetd::Observed(look)));
    }
}

fn role(name: RoleName, state: ServiceState, restarts: u32, how: Option<&str>) -> ServiceStatus {
    ServiceStatus {
        name,
        state,
        pid: Some(100 + restarts),
        ready_ms: None,
        restarts,
        pss_kib: None,
        cpu_ms: None,
        last_exit: how.map(str::to_owned),
    }
}

#[test]
fn what_happens_is_told_with_its_type_and_its_parts() {
    let mut bench = Bench::settled();
    bench.pass_ms(1_000);
    bench.events.clear();
    bench.link("eth1", false);
    bench.link("eth1", true);
    bench
        .local("auth.setup", json!({"password": "correct horse"}))
        .unwrap();
    bench.web("auth.login", json!({"password": "a wrong one"}), None);
    bench.apply("[system]\nhostname = \"attic\"\n").unwrap();
    let ready = |name| role(name, ServiceState::Ready, 0, None);
    bench.input(Input::Services(vec![ready(RoleName::Dnsd)]));
    let away = role(
        RoleName::Dnsd,
        ServiceState::Starting,
        1,
        Some("killed by SIGKILL"),
    );
    bench.input(Input::Services(vec![away]));
    bench.input(Input::Timed(FromTimed::Stepped { by_ms: -1_500 }));
    bench.pass_ms(1_000);
    let kinds = bench.kinds();
    for kind in [
        "link.down",
        "link.up",
        "login.done",
        "login.failed",
        "config.committed",
        "config.applied",
        "services.died",
        "services.state",
        "clock.set",
    ] {
        assert!(kinds.iter().any(|told| told == kind), "{kind}: {kinds:?}");
    }
    for event in &bench.events {
        let topic = event.data["type"].as_str().unwrap().split('.').next();
        assert_eq!(topic, Some(event.topic.as_str()));
        assert_eq!(event.data["id"], event.id);
    }
    let failed = bench.events.iter().find(|event| event.topic == "login");
    assert!(failed.is_some());
    // Neither what was tried nor what is right is told.
    let all = format!("{:?}", bench.events);
    assert!(!all.contains("a wrong one") && !all.contains("correct horse"));
    let died = bench
        .events
        .iter()
        .find(|e| e.data["type"] == "services.died");
    assert_eq!(died.unwrap().data["how"], "killed by SIGKILL");
}

#[test]
fn a_lease_is_told_when_it_begins_and_ends_and_not_each_time_it_is_renewed() {
    let mut bench = Bench::settled();
    bench.pass_ms(1_000);
    bench.events.clear();
    for _ in 0..3 {
        bench.bind(7, 600);
        bench.pass_ms(60_000);
    }
    assert_eq!(bench.kinds(), ["lease.given"]);
    bench.pass_ms(700_000);
    assert_eq!(bench.kinds(), ["lease.given", "lease.ended"]);
    assert_eq!(bench.events[1].data["why"], "expired");
    bench.bind(7, 600);
    bench
        .local("dhcp.leases.delete", json!({"ip": "192.168.1.107"}))
        .unwrap();
    bench.pass_ms(1_000);
    assert_eq!(bench.events.len(), 4);
    assert_eq!(bench.events[3].data["why"], "deleted");
}

#[test]
fn a_flood_is_counted_and_told_as_one() {
    let mut bench = Bench::settled();
    bench.pass_ms(30_000);
    bench.events.clear();
    for n in 0..1_000 {
        let state = FromWand::State {
            link: "eth1".parse().unwrap(),
            state: format!("state {n}"),
            text: String::new(),
        };
        bench.input(Input::Wand(state));
        bench.pass_ms(1);
    }
    bench.pass_ms(20_000);
    let told = bench.kinds();
    assert!(told.len() < 70, "{}", told.len());
    let skipped = bench
        .events
        .iter()
        .find(|e| e.data["type"] == "bus.skipped");
    let skipped = skipped.unwrap().data["events"].as_u64().unwrap();
    assert_eq!(skipped as usize + told.len() - 1, 1_000);
    // One topic's flood is not another's.
    bench.link("eth1", false);
    bench.pass_ms(1_000);
    assert!(bench.kinds().iter().any(|kind| kind == "link.down"));
    let status = bench.local("services.bus.status", json!({})).unwrap();
    assert_eq!(status["skipped"], skipped);
}

#[test]
fn the_history_is_bounded_and_pages_back() {
    let mut bench = Bench::settled();
    for n in 0..1_500 {
        bench.link("eth1", n % 2 == 0);
        bench.pass_ms(200);
    }
    let status = bench.local("services.bus.status", json!({})).unwrap();
    assert_eq!(status["kept"], status["kept_max"]);
    assert!(status["kept_bytes"].as_u64() <= status["kept_bytes_max"].as_u64());
    let mut ids = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let params = json!({"limit": 100, "cursor": cursor});
        let page = bench.local("services.bus.events", params).unwrap();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 100);
        ids.extend(items.iter().map(|item| item["id"].as_u64().unwrap()));
        match page.get("next") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!(ids.len() as u64, status["kept"]);
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]));
    let params = json!({"topic": "clock"});
    let none = bench.local("services.bus.events", params).unwrap();
    assert_eq!(none["items"], json!([]));
    let wrong = bench.local("services.bus.events", json!({"cursor": "x"}));
    assert_eq!(wrong.unwrap_err().status, 422);
}

#[test]
fn who_listens_goes_on_where_it_stopped_or_is_told_that_it_cannot() {
    let mut bench = Bench::settled();
    bench.pass_ms(1_000);
    let watch = |bench: &mut Bench, last: Option<u64>| {
        bench.next_call += 1;
        let id = bench.next_call;
        bench.input(Input::Watch {
            connection: 5,
            id,
            last,
        });
        bench.reply(id).result.clone().unwrap()
    };
    let begun = watch(&mut bench, None);
    assert_eq!(begun["gone"], false);
    bench.link("eth1", false);
    bench.pass_ms(1_000);
    let heard = bench.watched.len();
    assert_eq!(bench.watched[0].data["type"], "link.down");
    let seen = bench.watched[heard - 1].id;
    bench.input(Input::Unwatch { connection: 5 });
    bench.link("eth1", true);
    bench.pass_ms(1_000);
    assert_eq!(bench.watched.len(), heard, "nobody listens");
    let again = watch(&mut bench, Some(seen));
    let missed = again["missed"].as_array().unwrap();
    assert_eq!(missed[0]["data"]["type"], "link.up");
    assert!(missed.iter().all(|event| event["id"].as_u64() > Some(seen)));
    let strange = watch(&mut bench, Some(3));
    assert_eq!(strange["gone"], true);
    assert_eq!(strange["missed"], json!([]));
    // webd begins each session with what is known.
    let before = bench.events.len();
    bench.input(Input::Session(RoleName::Webd));
    assert_eq!(bench.events.len(), before);
    assert!(bench.history.iter().any(|event| event.id == seen));
}

#[test]
fn too_many_who_listen_are_refused() {
    let mut bench = Bench::settled();
    for connection in 0..20 {
        bench.input(Input::Watch {
            connection,
            id: 1_000 + connection,
            last: None,
        });
    }
    let taken = (0..20).filter(|n| bench.reply(1_000 + n).result.is_ok());
    assert_eq!(taken.count(), 8);
}

#[test]
fn numbers_go_on_over_a_restart_whatever_became_of_the_store() {
    let mut newest = 0;
    let mut store = Store::memory().unwrap();
    for round in 0..4 {
        let mut bench = Bench::new(start(), store);
        bench.join_all();
        bench.link("eth1", false);
        bench.pass_ms(1_000);
        let first = bench.events.first().unwrap().id;
        assert!(first > newest, "round {round}: {first} after {newest}");
        newest = bench.events.last().unwrap().id;
        let lost = round == 2;
        store = match lost {
            // Restored from long ago: the clock has gone on.
            true => Store::memory().unwrap(),
            false => std::mem::replace(bench.core.store_mut(), Store::memory().unwrap()),
        };
        if lost {
            let first = store.reserve_events((UNIX_S + 60) << 10, 1).unwrap();
            assert!(first > newest);
        }
    }
}

#[test]
fn notices_are_told_when_they_come_and_go() {
    let mut bench = Bench::settled();
    bench.pass_ms(1_000);
    bench.events.clear();
    let gone = bench
        .kernel
        .state
        .links
        .iter()
        .position(|l| l.name.as_str() == "eth1");
    let link = bench.kernel.state.links.remove(gone.unwrap());
    let look = bench.look();
    bench.input(Input::Netd(FromNetd::Observed(look)));
    bench.pass_ms(1_000);
    assert!(
        bench.kinds().iter().any(|kind| kind == "notice.raised"),
        "{:?}",
        bench.kinds()
    );
    bench.kernel.state.links.push(link);
    let look = bench.look();
    bench.input(Input::Netd(FromNetd::Observed(look)));
    bench.pass_ms(1_000);
    assert!(
        bench.kinds().iter().any(|kind| kind == "notice.cleared"),
        "{:?}",
        bench.kinds()
    );
}
