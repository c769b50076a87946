//! The first visit, the login and the status page in Chromium, over the WebDriver protocol
//! (W3C WebDriver) spoken with curl. Pictures of each page are left in the target directory
//! for people to look at.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use lintel_model::facts::{DataState, Notice, NoticeCode, Severity};
use serde_json::{Value, json};

use crate::house::House;
use crate::wire::PATIENCE;

#[test]
fn a_person_claims_the_box_and_watches_it() {
    let house = House::new();
    let Some(browser) = Browser::start() else {
        println!("skipped: chromium and chromedriver are not installed");
        return;
    };
    browser.window(1180, 900);
    browser.open(&house.url("/"));
    assert!(browser.text("h1").contains("Welcome"));
    browser.picture("setup");

    // A slip first, by keyboard alone: the field has the focus already.
    browser.keys("#password", "correct horse");
    browser.keys("#again", "correct house\u{e007}");
    browser.wait_for(".alert", "differ");
    browser.keys("#password", "correct horse");
    browser.keys("#again", "correct horse\u{e007}");
    browser.wait_for(".headline .title", "Online");
    assert_eq!(browser.text("tbody tr:first-child th"), "living-room-tv");
    browser.picture("status");
    browser.no_sideways_scrolling();

    // The page updates itself when the box says that something happened.
    let before = house.knowledge.lock().unwrap().status.clone();
    house.know(|known| {
        let wan = &mut known.status.wan;
        wan.online = false;
        wan.text =
            "The provider's server has not answered for two minutes. Check the modem.".to_owned();
        wan.state = Some("selecting".to_owned());
        wan.lease = None;
        known.status.services[3].state = "backing-off".to_owned();
        known.status.notices.insert(
            0,
            Notice {
                code: NoticeCode::WanOverlapsLan,
                severity: Severity::Warning,
                text: "The provider uses 192.168.1.0/24 as well. Change the home network to \
                       192.168.77.0/24 under [lan]."
                    .to_owned(),
                link: None,
            },
        );
    });
    house.event(1, "wan", json!({}));
    browser.wait_for(".headline .title", "Not online");
    browser.picture("status-offline");
    browser.dark(true);
    browser.picture("status-offline-dark");
    house.know(|known| known.status = before);
    house.event(2, "wan", json!({}));
    browser.wait_for(".headline .title", "Online");
    browser.picture("status-dark");
    browser.phone(true);
    browser.no_sideways_scrolling();
    browser.picture("status-phone-dark");
    browser.dark(false);
    browser.picture("status-phone");
    browser.phone(false);

    // Away and back again.
    house.lose_session();
    browser.script("document.dispatchEvent(new Event('visibilitychange'))");
    browser.wait_for("#lost", "does not answer");
    house.new_session();
    browser.wait_until("the page noticed that the box is back", || {
        browser.script("document.dispatchEvent(new Event('visibilitychange'))");
        browser.script("return document.getElementById('lost').hidden") == json!(true)
    });

    browser.click(".bar button");
    browser.wait_for("h1", "Log in");
    browser.keys("#password", "wrong\u{e007}");
    browser.wait_for(".alert", "not the password");
    browser.picture("login");
    browser.keys("#password", "correct horse\u{e007}");
    browser.wait_for(".headline .title", "Online");
    let complaints = browser.complaints();
    assert!(
        complaints.is_empty(),
        "the browser complains: {complaints:?}"
    );
}

#[test]
fn failed_storage_and_errors_have_pages() {
    let house = House::new();
    let Some(browser) = Browser::start() else {
        println!("skipped: chromium and chromedriver are not installed");
        return;
    };
    browser.window(1180, 900);
    house.know(|known| {
        known.data = DataState::Failed {
            reason: "The data partition holds no file system that this box can read.".to_owned(),
        }
    });
    browser.open(&house.url("/"));
    browser.wait_for("h1", "cannot use its storage");
    browser.click("summary");
    browser.picture("failed");
    browser.phone(true);
    browser.no_sideways_scrolling();
    browser.phone(false);
    browser.keys("#confirm", "erase everything\u{e007}");
    browser.wait_for("h1", "made anew");
    browser.open(&house.url("/nothing"));
    browser.wait_for("h1", "no such page");
    browser.picture("error");
}

/// One browser with one window.
struct Browser {
    driver: Child,
    session: String,
    profile: PathBuf,
}

impl Browser {
    /// `None` when there is no Chromium here.
    fn start() -> Option<Self> {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                let line = line.ok()?;
                let (_, port) = line.split_once("successfully on port ")?;
                Some(port.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver says its port");
        std::thread::spawn(move || lines.for_each(drop));
        let profile = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("chromium-{}-{port}", std::process::id()));
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            profile,
        };
        let data = format!("--user-data-dir={}", browser.profile.display());
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &data,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = browser.ask("POST", "", &wanted);
        let id = made["sessionId"].as_str().expect("a session");
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    fn window(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    fn phone(&self, on: bool) {
        let metrics = json!({
            "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true,
        });
        if on {
            self.devtools("Emulation.setDeviceMetricsOverride", metrics);
        } else {
            self.window(1180, 900);
        }
    }

    fn dark(&self, on: bool) {
        let value = if on { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
    }

    fn text(&self, selector: &str) -> String {
        let script = format!(
            "const e = document.querySelector({}); return e && !e.hidden ? e.innerText : ''",
            json!(selector)
        );
        self.script(&script).as_str().unwrap_or_default().to_owned()
    }

    fn wait_for(&self, selector: &str, text: &str) {
        let what = format!("{selector} says {text:?}");
        self.wait_until(&what, || self.text(selector).contains(text));
    }

    fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            if Instant::now() > deadline {
                let body = self.script("return document.body.innerText");
                panic!("not in time: {what}; the page says {body}");
            }
        }
    }

    fn keys(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.ask(
            "POST",
            &format!("/element/{element}/value"),
            &json!({ "text": text }),
        );
    }

    fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.ask("POST", &format!("/element/{element}/click"), &json!({}));
    }

    fn element(&self, selector: &str) -> String {
        let by = json!({ "using": "css selector", "value": selector });
        let found = self.ask("POST", "/element", &by);
        let id = found.as_object().and_then(|o| o.values().next());
        id.and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no {selector}: {found}"))
            .to_owned()
    }

    fn script(&self, script: &str) -> Value {
        self.ask(
            "POST",
            "/execute/sync",
            &json!({ "script": script, "args": [] }),
        )
    }

    fn devtools(&self, command: &str, params: Value) -> Value {
        let order = json!({ "cmd": command, "params": params });
        self.ask("POST", "/goog/cdp/execute", &order)
    }

    /// The whole page as a picture in the target directory.
    fn picture(&self, name: &str) {
        let options = json!({ "captureBeyondViewport": true });
        let shot = self.devtools("Page.captureScreenshot", options);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let file = std::fs::File::create(folder.join(format!("{name}.png"))).unwrap();
        let mut decode = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(file)
            .spawn()
            .unwrap();
        let text = shot["data"].as_str().expect("a picture");
        decode
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(decode.wait().unwrap().success());
    }

    fn no_sideways_scrolling(&self) {
        let wide = self.script(
            "const d = document.documentElement; return d.scrollWidth > d.clientWidth \
             ? [...document.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > d.clientWidth).map(e => e.outerHTML.slice(0, 80)) : []",
        );
        assert_eq!(wide, json!([]), "wider than the window");
    }

    /// What the page wrote to the console: blocked scripts, failed loads.
    fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().cloned().unwrap_or_default();
        let text = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
        // The refused password and the time without controld belong to the test.
        let expected = |line: &String| [" 422 ", " 403 ", " 503 "].iter().any(|s| line.contains(s));
        lines
            .iter()
            .map(text)
            .filter(|line| !expected(line))
            .collect()
    }

    fn ask(&self, verb: &str, path: &str, body: &Value) -> Value {
        let out = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "60",
                "--noproxy",
                "*",
            ])
            .args([
                "-X",
                verb,
                "-H",
                "Content-Type: application/json",
                "--data-binary",
            ])
            .args([&body.to_string(), &format!("{}{path}", self.session)])
            .output()
            .expect("curl is installed");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if self.session.ends_with("/session") {
            // No session was made, so there is none to end.
        } else {
            self.ask("DELETE", "", &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
