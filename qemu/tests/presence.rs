//! Whoever stands at the box owns it: the boot argument and the held button take the password or
//! everything away, once, and the box tells of it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use appliance_tests::machine::{Boot, READY};
use appliance_tests::{Street, step};
use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::DhcpServer;
use netns_tests::session::Session;
use netns_tests::wires::BOX;
use netns_tests::{Workdir, until};
use serde_json::{Value, json};

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
/// The same by UEFI.
const UEFI_BOOT: Duration = Duration::from_secs(180);
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

    /// How long the box is up, by its own clock.
    fn uptime_s(&self) -> u64 {
        let info = self.must("GET", "/api/system/info", &Value::Null);
        info["uptime_s"].as_u64().unwrap()
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
    let mut keyboard = street.machine().keyboard();
    step("a short press does nothing, nor does another key", || {
        keyboard.press("f12");
        keyboard.release("f12");
        keyboard.press("a");
        // By the guest's clock: a busy host may run it slowly.
        let over_s = owner.uptime_s() + 8;
        until("eight seconds are over", BOOT, || owner.uptime_s() > over_s);
        keyboard.release("a");
        owner.claimed(true);
        let serial = street.machine().printed();
        assert!(!serial.contains("the button is held"), "{serial}");
    });
    step("held for five seconds it takes the password", || {
        keyboard.press("f12");
        street.machine().line("let go now, and the password", SOON);
        keyboard.release("f12");
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
    step("held for ten seconds it removes everything", || {
        keyboard.press("f12");
        street
            .machine()
            .line("let go now, and everything that is stored is removed", SOON);
        keyboard.release("f12");
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

/// What somebody types at a PC's firmware, in its shell.
const AT_THE_LOADER: &str = "fs0:\r\n\\EFI\\BOOT\\START.EFI lintel.reset=password\r\n";

#[test]
fn at_a_pc_the_screen_s_prompt_and_the_loader_take_the_password() {
    let mut boot = Boot::from_env();
    boot.uefi = true;
    let mut street = Street::new(boot, DhcpServer::Dnsmasq);
    let owner = Owner {
        host: street.host(),
        session: Session::new(),
    };
    let first = json!({ "password": FIRST });
    step("UEFI starts the box, which finds an owner", || {
        street.power_on().line(READY, UEFI_BOOT);
    });
    let _client = owner.host.dhcp(DhcpClient::Udhcpc, "laptop");
    owner.host.lease(SOON);
    step("whose session is worth something", || {
        owner.claimed(false);
        owner.claim(&first);
        owner.must("GET", "/api/status", &Value::Null);
    });
    let works = |password: &Value| {
        let mut status = 0;
        until("the box judges a password", BOOT, || {
            let told = owner.send("POST", "/api/auth/login", password);
            status = told.map_or(0, |(status, _)| status);
            !matches!(status, 0 | 429 | 503)
        });
        status == 200
    };
    step("at the keyboard the password is changed unasked", || {
        let typed = SECOND.replace(' ', "-");
        street
            .machine()
            .keyboard()
            .type_line(&format!("auth password change password={typed}"));
        let typed = json!({ "password": typed });
        // With it every session ends; a wrong password would make the next one wait.
        until("it is changed", SOON, || {
            let told = owner.send("GET", "/api/status", &Value::Null);
            told.is_some_and(|(status, _)| status == 401)
        });
        assert!(works(&typed));
        assert!(!works(&first));
        street.machine().cut_power();
    });
    step("a word typed at the loader takes it away", || {
        let files = BootFiles(street.disk());
        // No entry starts by itself any more, so that the firmware offers its shell.
        files.rename("BOOTX64.EFI", "START.EFI");
        files.write("startup.nsh", AT_THE_LOADER, &street.dir);
        street.power_on();
        until("the box has no owner", UEFI_BOOT, || {
            let told = owner.send("GET", "/api/auth/status", &Value::Null);
            told.is_some_and(|(_, told)| told["claimed"] == json!(false))
        });
        let told = owner.claimed(false);
        let told = told["reset"].as_str().unwrap();
        assert!(told.contains("lintel.reset=password"), "{told}");
        owner.claim(&first);
        assert_eq!(owner.trail("system.reset.password"), 1);
        street.machine().cut_power();
    });
    step("the next start needs no word and takes nothing", || {
        let files = BootFiles(street.disk());
        files.rename("START.EFI", "BOOTX64.EFI");
        street.power_on().line(READY, UEFI_BOOT);
        owner.claimed(true);
        assert!(works(&first));
        assert_eq!(owner.notice(), None);
    });
}

/// The boot partition, by the programs of mtools.
struct BootFiles<'a>(&'a Path);

impl BootFiles<'_> {
    fn rename(&self, from: &str, to: &str) {
        let place = |name: &str| format!("::/EFI/BOOT/{name}");
        self.run(&["mren"], &[&place(from), &place(to)]);
    }

    fn write(&self, name: &str, text: &str, dir: &Workdir) {
        let file = dir.write(name, text);
        let to = format!("::/{name}");
        self.run(&["mcopy", "-o"], &[file.to_str().unwrap(), &to]);
    }

    fn run(&self, program: &[&str], files: &[&str]) {
        // It is the first partition, one MiB into the disk.
        let disk = format!("{}@@1M", self.0.display());
        let output = Command::new(program[0])
            .args(&program[1..])
            .args(["-i", &disk])
            .args(files)
            .env("MTOOLS_SKIP_CHECK", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{program:?} {files:?}: {output:?}");
    }
}
