//! Whoever stands at the box owns it: the boot argument and the held button take the password or
//! everything away, once, and the box tells of it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO"
)]

use std::time::Duration;

use appliance_tests::machine::{Boot, READY};
use appliance_tests::{Street, step};
use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::DhcpServer;
use netns_tests::session::Session;
use netns_tests::until;
use netns_tests::wires::BOX;
use serde_json::{Value, json};

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
const FIRST: &str = "seven green bottles";
const SECOND: &str = "eight blue kettles";
const TEST: &str = "lintel.test=1";

/// The household's laptop, which keeps its cookies over all of it.
struct Owner {
    host: Host,
    session: Session,
}

impl Owner {
    fn send(&self, verb: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let url = format!("http://{BOX}{path}");
        let answer = self.session.ask(&self.host, 20, verb, &url, body).ok()?;
        Some((answer.status, answer.value()))
    }

    /// Asks again while the box is busy: hashing a password takes an emulated machine seconds. What
    /// was done all the same by a call before is then in the way of its repetition.
    fn must(&self, verb: &str, path: &str, body: &Value) -> Value {
        let (mut tries, mut last) = (0, (0, Value::Null));
        until(&format!("{verb} {path} is answered"), BOOT, || {
            tries += 1;
            last = self.send(verb, path, body).unwrap_or_default();
            !matches!(last.0, 0 | 503)
        });
        let (status, answer) = last;
        assert!(
            status == 200 || tries > 1 && status == 409,
            "{verb} {path}: {status} {answer}"
        );
        answer
    }

    /// Sets the password, and has a session.
    fn claim(&self, password: &Value) {
        self.must("POST", "/api/auth/setup", password);
        self.must("POST", "/api/auth/login", password);
    }

    /// The page is served, and says so of the password.
    fn claimed(&self, wanted: bool) -> Value {
        let mut status = Value::Null;
        until("the box says whether it has an owner", SOON, || {
            let told = self.send("GET", "/api/auth/status", &Value::Null);
            status = told.map(|(_, told)| told).unwrap_or_default();
            status["claimed"] == json!(wanted)
        });
        status
    }

    fn has_name(&self) -> bool {
        self.host.dig(BOX, &["nas.lan"]) == ["192.168.1.77"]
    }

    fn notice(&self) -> Option<String> {
        let status = self.must("GET", "/api/status", &Value::Null);
        let notices = status["notices"].as_array().unwrap();
        let found = notices.iter().find(|notice| notice["code"] == "reset")?;
        Some(found["text"].as_str().unwrap().to_owned())
    }

    /// How often the trail has this.
    fn trail(&self, method: &str) -> usize {
        let page = self.must("GET", "/api/audit?limit=1000", &Value::Null);
        let lines = page["items"].as_array().unwrap();
        let same = lines
            .iter()
            .filter(|line| line["who"] == "presence" && line["method"] == method);
        same.count()
    }
}

/// Starts the box with these words, and comes back when it serves.
fn boot(street: &mut Street, words: &str) {
    street.boot.append = format!("{TEST} {words}");
    street.power_on().line(READY, BOOT);
}

#[test]
fn a_word_at_the_boot_resets_once() {
    let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
    let owner = Owner {
        host: street.host(),
        session: Session::new(),
    };
    let (first, second) = (json!({ "password": FIRST }), json!({ "password": SECOND }));
    let token = json!({ "name": "script", "scope": "write" });
    step("the box has an owner, a name and a token", || {
        boot(&mut street, "");
    });
    let _client = owner.host.dhcp(DhcpClient::Udhcpc, "laptop");
    owner.host.lease(SOON);
    step("they are stored", || {
        owner.claimed(false);
        owner.claim(&first);
        owner.must("POST", "/api/auth/tokens", &token);
        let nas = json!({ "name": "nas", "type": "A", "value": "192.168.1.77" });
        owner.must("POST", "/api/dns/records", &nas);
        assert_eq!(owner.notice(), None);
        street.machine().cut_power();
    });
    step(
        "lintel.reset=password takes the password and leaves the names",
        || {
            boot(&mut street, "lintel.reset=password");
            let status = owner.claimed(false);
            let told = status["reset"].as_str().unwrap();
            assert!(told.contains("lintel.reset=password"), "{told}");
            let (status, refused) = owner.send("POST", "/api/auth/login", &first).unwrap();
            assert_eq!((status, &refused["type"]), (409, &json!("not-claimed")));
            let (status, _) = owner.send("GET", "/api/status", &Value::Null).unwrap();
            assert_eq!(status, 401, "the session of before is worth nothing");
            until("the name is there", SOON, || owner.has_name());
            let serial = street.machine().printed();
            assert!(serial.contains("The password was taken away"), "{serial}");
        },
    );
    step(
        "the next one to come sets a new one, and reads what happened",
        || {
            owner.claim(&second);
            let notice = owner.notice().unwrap();
            assert!(notice.contains("Take that out"), "{notice}");
            assert_eq!(owner.trail("system.reset.password"), 1);
            let tokens = owner.must("GET", "/api/auth/tokens", &Value::Null);
            assert_eq!(tokens["items"], json!([]));
            street.machine().cut_power();
        },
    );
    step(
        "with the word still there it is told and not done again",
        || {
            boot(&mut street, "lintel.reset=password");
            owner.claimed(true);
            owner.must("POST", "/api/auth/login", &second);
            let notice = owner.notice().unwrap();
            assert!(
                notice.contains("is not done again; take it out"),
                "{notice}"
            );
            assert_eq!(owner.trail("system.reset.password"), 1);
            assert!(owner.has_name());
            street.machine().cut_power();
        },
    );
    step("without the word nothing is told", || {
        boot(&mut street, "");
        owner.claimed(true);
        owner.must("POST", "/api/auth/login", &second);
        assert_eq!(owner.notice(), None);
        street.machine().cut_power();
    });
    step("lintel.reset=factory removes everything", || {
        boot(&mut street, "lintel.reset=factory");
        let status = owner.claimed(false);
        assert!(status["reset"].as_str().unwrap().contains("was removed"));
        until("the box answers", SOON, || {
            !owner.host.dig(BOX, &["lintel.lan"]).is_empty()
        });
        assert!(!owner.has_name());
        owner.claim(&first);
        assert_eq!(owner.trail("system.reset.factory"), 1);
        let revisions = owner.must("GET", "/api/config/revisions", &Value::Null);
        assert_eq!(revisions["items"].as_array().unwrap().len(), 1);
        street.machine().cut_power();
    });
    step("once, too", || {
        boot(&mut street, "lintel.reset=factory");
        owner.claimed(true);
        owner.must("POST", "/api/auth/login", &first);
        let notice = owner.notice().unwrap();
        assert!(
            notice.contains("is not done again; take it out"),
            "{notice}"
        );
        assert_eq!(owner.trail("system.reset.factory"), 1);
    });
}

#[test]
fn the_held_button_resets_the_password_or_everything() {
    let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
    let owner = Owner {
        host: street.host(),
        session: Session::new(),
    };
    let (first, second) = (json!({ "password": FIRST }), json!({ "password": SECOND }));
    // F12 of the keyboard is the button of this machine.
    let button = "lintel.button=88";
    step("the box has an owner and a name", || {
        boot(&mut street, button);
    });
    let _client = owner.host.dhcp(DhcpClient::Udhcpc, "laptop");
    owner.host.lease(SOON);
    step("they are stored", || {
        owner.claimed(false);
        owner.claim(&first);
        let nas = json!({ "name": "nas", "type": "A", "value": "192.168.1.77" });
        owner.must("POST", "/api/dns/records", &nas);
        street
            .machine()
            .line("the button is /dev/input/event", SOON);
    });
    step("pressed for a second it does nothing", || {
        street.machine().hold_key("f12", 1_000);
        street.machine().hold_key("a", 7_000);
        // Longer than both.
        let at = std::time::Instant::now() + Duration::from_secs(8);
        until("they are over", SOON, || std::time::Instant::now() >= at);
        owner.claimed(true);
    });
    step("held for six seconds it takes the password", || {
        street.machine().hold_key("f12", 6_000);
        street.machine().line("let go now, and the password", SOON);
        street
            .machine()
            .line("the button takes the password away", SOON);
        let status = owner.claimed(false);
        assert!(status["reset"].as_str().unwrap().contains("by the button"));
        let (status, _) = owner.send("GET", "/api/status", &Value::Null).unwrap();
        assert_eq!(status, 401);
        owner.claim(&second);
        assert_eq!(owner.trail("system.reset.password"), 1);
        assert_eq!(owner.notice(), None, "the owner has seen it");
        assert!(owner.has_name());
    });
    step("held for twelve seconds it removes everything", || {
        street.machine().hold_key("f12", 12_000);
        street
            .machine()
            .line("everything that is stored is removed", SOON);
        street.machine().line("/data was made anew", SOON);
        street.machine().wait(SOON);
        boot(&mut street, button);
        let status = owner.claimed(false);
        assert!(status["reset"].as_str().unwrap().contains("by the button"));
        owner.claim(&first);
        assert!(!owner.has_name());
        assert_eq!(owner.trail("system.reset.factory"), 1);
    });
}
