//! A household's backup leaves one box, sealed, and is put in force on another machine, whose ports
//! sit elsewhere and have other addresses.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO"
)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use appliance_tests::machine::{Boot, READY};
use appliance_tests::street::{Leads, Port};
use appliance_tests::{Street, step};
use lintel_seal::{armor, seal};
use netns_tests::caller::Answer;
use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::DhcpServer;
use netns_tests::session::Session;
use netns_tests::wires::{BOX, is_online};
use netns_tests::{Proc, Workdir, until, until_some};
use serde_json::{Value, json};

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
/// The work of a passphrase: a second of a real processor, and a minute of an emulated one that
/// nothing else is asked of.
const SEALING: Duration = Duration::from_secs(600);
/// Work of the files that are to be refused.
const LITTLE: u8 = 8;
const FIRST: &str = "seven green bottles";
const SECOND: &str = "eight blue kettles";
const WORDS: &str = "four words are enough";
const OTHER_WORDS: &str = "four words are wrong";
/// Whose ports are named by their slots.
const CARD: &str = "e1000e";
/// Names both ports of the first box, by their places.
const CONFIG: &str = r#"[wan]
port = "path:pci-0000:00:04.0"

[lan]
address = "192.168.1.1/24"
domain = "fair"
ports = ["path:pci-0000:00:03.0"]

[[dns.records]]
name = "nas.fair"
type = "A"
value = "192.168.1.77"
"#;

/// A laptop on the LAN whose user is logged in.
struct Owner {
    host: Host,
    session: Session,
    _client: Proc,
}

impl Owner {
    /// The first visitor of a box that was just switched on.
    fn of(street: &mut Street, password: &str) -> Self {
        let host = street.host();
        street.power_on().line(READY, BOOT);
        let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
        host.lease(SOON);
        let owner = Self {
            host,
            session: Session::new(),
            _client: client,
        };
        let claim = json!({ "password": password });
        assert_eq!(owner.ask("POST", "/api/auth/setup", &claim).0, 200);
        until("the box has its address of the provider", SOON, || {
            owner.must("GET", "/api/status", &Value::Null)["wan"]["lease"].is_object()
        });
        owner
    }

    /// Asks again while the work of a passphrase goes on.
    fn ask(&self, verb: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{BOX}{path}");
        patient(|| self.session.ask(&self.host, 20, verb, &url, body))
    }

    fn must(&self, verb: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(verb, path, body);
        assert_eq!(status, 200, "{verb} {path}: {answer}");
        answer
    }

    fn import(&self, content: &str, passphrase: &str) -> (u16, Value) {
        let body = json!({ "content": content, "passphrase": passphrase });
        self.ask("POST", "/api/config/import", &body)
    }

    /// All that an import or a restore could change.
    fn kept(&self) -> [Value; 3] {
        let get = |path: &str| self.must("GET", path, &Value::Null);
        [
            get("/api/config"),
            get("/api/config/backups"),
            get("/api/config/revisions"),
        ]
    }
}

#[test]
fn a_sealed_backup_is_put_in_force_on_another_machine() {
    let dir = Workdir::new("backup");
    let sealed = step("the first box seals its configuration", || {
        let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
        street.card = CARD;
        let owner = Owner::of(&mut street, FIRST);
        let commit = json!({ "toml": CONFIG });
        let done = owner.must("POST", "/api/config/commit", &commit);
        assert_eq!(done["committed"], true, "{done}");
        let passphrase = format!("Passphrase: {WORDS}");
        let url = format!("http://{BOX}/api/config/export");
        let (status, export) = patient(|| {
            let more = ["-H", &passphrase, &url];
            owner.session.curl(&owner.host, 20, &more)
        });
        assert_eq!((status, &export["sealed"]), (200, &json!(true)), "{export}");
        export["content"].as_str().unwrap().to_owned()
    });
    let text = step("the program age opens it, with these words alone", || {
        let file = dir.write("sealed.age", &sealed);
        let opened = dir.path("opened.toml");
        assert!(!age_opens(&file, &opened, OTHER_WORDS).status.success());
        assert!(!opened.exists());
        let age = age_opens(&file, &opened, WORDS);
        assert!(age.status.success(), "{age:?}");
        let text = fs::read_to_string(opened).unwrap();
        assert!(text.contains(CONFIG), "{text}");
        assert!(!text.contains(FIRST) && !text.contains("argon2"), "{text}");
        text
    });

    let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
    let port = |slot, leads| Port { slot, leads };
    street.card = CARD;
    street.ports = vec![
        port(5, Leads::Lan),
        port(6, Leads::Wan),
        port(7, Leads::Nowhere),
    ];
    let owner = step("another machine finds its own way to the internet", || {
        Owner::of(&mut street, SECOND)
    });
    let before = owner.kept();
    step("what is not whole, or not opened, is refused whole", || {
        let file = armor::encode(&seal(text.as_bytes(), WORDS, LITTLE, &[7; 48]));
        let (status, problem) = owner.import(&file, OTHER_WORDS);
        assert_eq!(
            (status, &problem["type"]),
            (422, &json!("wrong-passphrase"))
        );
        let middle = file.len() / 2;
        let hole = format!("{}{}", &file[..middle], &file[middle + 4..]);
        for damaged in [&file[..middle], &file[..file.len() - 60], &hole] {
            let (status, problem) = owner.import(damaged, WORDS);
            assert_eq!(
                (status, &problem["type"]),
                (422, &json!("damaged-backup")),
                "{problem}"
            );
        }
        assert_eq!(owner.kept(), before);
    });
    let (status, taken) = step("the whole file is taken in", || {
        owner.import(&sealed, WORDS)
    });
    assert_eq!(
        (status, &taken["origin"]),
        (200, &json!("imported")),
        "{taken}"
    );
    let restore = format!("/api/config/restore/{}", taken["id"]);
    step(
        "of two ports that may be the LAN one has to be named",
        || {
            let (status, problem) = owner.ask("POST", &restore, &json!({}));
            assert_eq!(
                (status, &problem["type"]),
                (422, &json!("ports-unmatched")),
                "{problem}"
            );
            let asked = problem["errors"].as_array().unwrap();
            let paths: Vec<_> = asked.iter().map(|error| &error["path"]).collect();
            assert_eq!(paths, [&json!("ports.path:pci-0000:00:03.0")]);
            let text = problem.to_string();
            let candidates = ["pci-0000:00:05.0", "pci-0000:00:07.0"];
            assert!(candidates.iter().all(|port| text.contains(port)), "{text}");
            assert!(!text.contains("pci-0000:00:06.0"), "{text}");
            let config = owner.must("GET", "/api/config", &Value::Null);
            assert_eq!(config, before[0]);
        },
    );
    step("with that said the household has its network back", || {
        let ports = json!({ "path:pci-0000:00:03.0": "path:pci-0000:00:05.0" });
        let done = owner.must("POST", &restore, &json!({ "ports": ports }));
        assert_eq!(done["committed"], true, "{done}");
        if done["confirm"].is_object() {
            owner.must("POST", "/api/config/confirm", &json!({}));
        }
        let config = owner.must("GET", "/api/config", &Value::Null);
        let text = config["toml"].as_str().unwrap();
        for wanted in [
            "port = \"path:pci-0000:00:06.0\"",
            "ports = [\"path:pci-0000:00:05.0\"]",
            "domain = \"fair\"",
        ] {
            assert!(text.contains(wanted), "{text}");
        }
        assert!(
            !text.contains("00:03.0") && !text.contains("00:04.0"),
            "{text}"
        );
        until("the name of the first box is known here", SOON, || {
            owner.host.dig(BOX, &["nas.fair"]) == ["192.168.1.77"]
        });
        is_online(&owner.host);
    });
    step("who may enter did not come along", || {
        let login = |password: &str| {
            let url = format!("http://{BOX}/api/auth/login");
            let body = json!({ "password": password });
            patient(|| Session::new().ask(&owner.host, 20, "POST", &url, &body)).0
        };
        assert_eq!((login(FIRST), login(SECOND)), (401, 200));
    });
}

/// What is answered when the box does not say any more that something takes its time.
fn patient(mut ask: impl FnMut() -> Result<Answer, String>) -> (u16, Value) {
    let begun = Instant::now();
    let answer = until_some("the box has an answer", SEALING, || {
        let last = ask();
        let late = begun.elapsed() > SEALING - SOON;
        assert!(!late, "no answer but {last:?}");
        last.ok().filter(|answer| answer.status != 503)
    });
    (answer.status, answer.value())
}

/// age asks for passphrases at a terminal and nowhere else.
fn age_opens(file: &Path, to: &Path, words: &str) -> Output {
    let age = format!("age -d -o {} {}", to.display(), file.display());
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &age, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = script.stdin.take().unwrap();
    writeln!(keyboard, "{words}").unwrap();
    drop(keyboard);
    script.wait_with_output().unwrap()
}
