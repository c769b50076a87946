//! Changes of the box's own network, made from inside it: one that cuts its author off comes back
//! by itself, one that moves the household ends confirmed in the browser that made it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO, by a clock"
)]

use std::time::{Duration, Instant};

use appliance_tests::machine::{Boot, READY};
use appliance_tests::{Street, step};
use netns_tests::browser::Browser;
use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::DhcpServer;
use netns_tests::session::Session;
use netns_tests::told::notice;
use netns_tests::wires::is_online;
use netns_tests::{Proc, pages, until, until_some};
use serde_json::{Value, json};

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
const FACTORY: &str = "192.168.1.1";
const OLD: &str = "192.168.77.1";
const NEW: &str = "10.9.8.1";
const BESIDE: &str = "10.9.8.254";
const PASSWORD: &str = "seven green bottles";
/// How long a change waits here before it is taken back.
const WINDOW: Duration = Duration::from_secs(10);

/// A host of the household whose owner is logged in.
struct Owner {
    client: Proc,
    host: Host,
    session: Session,
}

impl Owner {
    /// What the box at this address answers, when it does.
    fn get(&self, address: &str, path: &str) -> Option<Value> {
        let url = format!("http://{address}{path}");
        let answer = self.session.ask(&self.host, 5, "GET", &url, &Value::Null);
        let answer = answer.ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    fn status(&self, address: &str) -> Value {
        until_some("the box tells its status", SOON, || {
            self.get(address, "/api/status")
        })
    }

    fn post(&self, address: &str, path: &str, body: &Value) -> Value {
        let url = format!("http://{address}{path}");
        let answer = self.session.send(&self.host, "POST", &url, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Whether the box answers there, with no patience.
    fn is_served(&self, address: &str) -> bool {
        let url = format!("http://{address}/health");
        let answer = self.session.ask(&self.host, 2, "GET", &url, &Value::Null);
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Asks anew for an address, as a device does that comes back.
    fn follow(&self, router: &str) {
        self.client.signal("USR1");
        until("the device is in the new network", SOON, || {
            self.host.lease(SOON).router == router
        });
    }
}

fn config(address: &str, more: &str) -> String {
    format!("[lan]\naddress = \"{address}/24\"\n{more}")
}

#[test]
fn a_change_that_cuts_its_author_off_comes_back_and_a_move_in_a_browser_stays() {
    let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
    let host = street.host();
    let owner = step("the box is claimed from its LAN", || {
        street.power_on().line(READY, BOOT);
        let owner = Owner {
            client: host.dhcp(DhcpClient::Udhcpc, "laptop"),
            host,
            session: Session::new(),
        };
        assert_eq!(owner.host.lease(SOON).router, FACTORY);
        owner.post(FACTORY, "/api/auth/setup", &json!({"password": PASSWORD}));
        owner
    });
    step("the household moves to another network", || {
        let body = json!({"toml": config(OLD, "")});
        let url = format!("http://{FACTORY}/api/config?reason=apart");
        let answer = owner.session.send(&owner.host, "PUT", &url, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let token = answer.json()["confirm"]["token"].clone();
        owner.post(OLD, "/api/config/confirm", &json!({"token": token}));
        owner.follow(OLD);
        is_online(&owner.host);
    });
    let before = owner.get(OLD, "/api/config").unwrap();
    comes_back(&owner);
    step("the configuration is exactly the one before", || {
        let after = owner.get(OLD, "/api/config").unwrap();
        assert_eq!(after["toml"], before["toml"]);
        assert_eq!(after["revision"], before["revision"]);
        is_online(&owner.host);
    });
    moves_in_a_browser(&owner);
}

/// The one port of the household leaves its network.
fn comes_back(owner: &Owner) {
    let body = json!({"toml": config(OLD, "ports = [\"path:pci-0000:00:1f.7\"]\n")});
    let window = WINDOW.as_secs();
    let url = format!("http://{OLD}/api/config?reason=a+slip&confirm_s={window}");
    let begun = Instant::now();
    step("a slip cuts off who made it", || {
        assert!(owner.is_served(OLD));
        // The answer has no way back.
        let answer = owner.session.ask(&owner.host, 5, "PUT", &url, &body);
        assert!(answer.is_err(), "{answer:?}");
        assert!(!owner.is_served(OLD));
    });
    step("the box comes back by itself", || {
        until("the box answers again", WINDOW + SOON, || {
            owner.is_served(OLD)
        });
        let away = begun.elapsed();
        assert!(away >= WINDOW, "it was never gone: {away:?}");
        println!(
            "changes: {} ms after the slip the box answers again",
            away.as_millis()
        );
        let status = owner.status(OLD);
        let text = notice(&status, "not-confirmed").unwrap();
        assert!(text.contains("was not confirmed in time"), "{text}");
        assert!(status["config"]["pending"].is_null(), "{status}");
    });
}

/// In Chromium on the owner's device, whose address comes by DHCP.
fn moves_in_a_browser(owner: &Owner) {
    let Some(browser) = pages::visitor(&owner.host, env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    step("the owner logs in with a browser", || {
        browser.open(&format!("http://{OLD}/"));
        pages::log_in(&browser, PASSWORD);
    });
    move_to(owner, &browser, OLD, NEW);
    step("the device follows, and the old address is let go", || {
        owner.follow(NEW);
        owner.post(NEW, "/api/auth/login", &json!({"password": PASSWORD}));
        until("the old address is gone", SOON, || !owner.is_served(OLD));
        browser.open(&format!("http://{NEW}/"));
        pages::is_online(&browser);
        is_online(&owner.host);
    });
    move_to(owner, &browser, NEW, BESIDE);
    step("the device goes on by the router that it was told", || {
        assert_eq!(owner.host.lease(SOON).router, NEW);
        assert!(owner.is_served(NEW));
        is_online(&owner.host);
    });
}

/// From the settings page, which nobody touches after the click.
fn move_to(owner: &Owner, browser: &Browser<'_>, from: &str, to: &str) {
    step(&format!("the household moves to {to}"), || {
        browser.open(&format!("http://{from}/config"));
        browser.wait_for("main h1", "Settings");
        pages::write(browser, &config(to, ""));
        browser.wait_for("#problems", "Nothing is wrong");
        browser.click("[value=commit]");
    });
    step("the same page finds the box and confirms", || {
        pages::is_led_to(browser, &format!("http://{to}/"));
        pages::is_online(browser);
        browser.wait_for("#live", &format!("{to}/24"));
        let status = owner.status(from);
        assert!(status["config"]["pending"].is_null(), "{status}");
        let shown = owner.get(from, "/api/config").unwrap();
        assert_eq!(shown["toml"], config(to, ""));
    });
}
