//! Chromium with one window, over the WebDriver protocol (W3C WebDriver) spoken with curl.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::namespace::Namespace;

/// The enter key, as WebDriver writes it.
pub const ENTER: &str = "\u{e007}";

/// No page takes longer on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One browser with one window.
#[derive(Debug)]
pub struct Browser<'n> {
    place: Option<&'n Namespace>,
    driver: Child,
    session: String,
    profile: PathBuf,
    pictures: PathBuf,
}

impl<'n> Browser<'n> {
    /// Starts it in this namespace, or in the test's own. Its files and pictures go below
    /// `folder`, which is the test's `CARGO_TARGET_TMPDIR`. `None` when there is no Chromium
    /// here, which is then said.
    pub fn start(place: Option<&'n Namespace>, folder: &Path) -> Option<Self> {
        let started = Self::try_start(place, folder);
        if started.is_none() {
            println!("SKIPPED: chromium and chromedriver are not installed");
        }
        started
    }

    fn try_start(place: Option<&'n Namespace>, folder: &Path) -> Option<Self> {
        let mut driver = command(place, "chromedriver")
            .args(["--port=0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let (_, port) = line.split_once("successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        })?;
        std::thread::spawn(move || lines.for_each(drop));
        let profile = folder.join(format!("chromium-{}", driver.id()));
        let mut browser = Self {
            place,
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            profile,
            pictures: folder.join("screenshots"),
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
            // A box vouches for itself; a person compares the fingerprint and goes on.
            "--ignore-certificate-errors",
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

    /// Opens a page and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// A window of this size, in CSS pixels.
    pub fn window(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// A phone instead of the window.
    pub fn phone(&self, on: bool) {
        let metrics = json!({
            "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true,
        });
        if on {
            self.devtools("Emulation.setDeviceMetricsOverride", metrics);
        } else {
            self.window(1180, 900);
        }
    }

    /// What the system prefers.
    pub fn dark(&self, on: bool) {
        let value = if on { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
    }

    /// Whether pages may run scripts, from the next page on; tests go on doing so.
    pub fn scripts(&self, on: bool) {
        let command = "Emulation.setScriptExecutionDisabled";
        self.devtools(command, json!({ "value": !on }));
    }

    /// What the first element of this kind says; empty while it is hidden or absent.
    pub fn text(&self, selector: &str) -> String {
        let script = format!(
            "const e = document.querySelector({}); return e && !e.hidden ? e.innerText : ''",
            json!(selector)
        );
        self.script(&script).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the first element of this kind says so.
    pub fn wait_for(&self, selector: &str, text: &str) {
        let what = format!("{selector} says {text:?}");
        self.wait_until(&what, || self.text(selector).contains(text));
    }

    /// Waits for a condition.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            if Instant::now() > deadline {
                let body = self.script("return document.body.innerText");
                panic!("not in time: {what}; the page says {body}");
            }
        }
    }

    /// Types into a field.
    pub fn keys(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.ask(
            "POST",
            &format!("/element/{element}/value"),
            &json!({ "text": text }),
        );
    }

    /// Clicks.
    pub fn click(&self, selector: &str) {
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

    /// Runs a script in the page; its value.
    pub fn script(&self, script: &str) -> Value {
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

    /// The whole page as `screenshots/NAME.png` below the folder.
    pub fn picture(&self, name: &str) {
        let options = json!({ "captureBeyondViewport": true });
        let shot = self.devtools("Page.captureScreenshot", options);
        std::fs::create_dir_all(&self.pictures).unwrap();
        let file = std::fs::File::create(self.pictures.join(format!("{name}.png"))).unwrap();
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

    /// Pictures in both colour schemes, in the window and on a phone, where nothing may be wider
    /// than the page.
    pub fn pictures(&self, name: &str) {
        for (dark, scheme) in [(false, ""), (true, "-dark")] {
            self.dark(dark);
            self.no_sideways_scrolling();
            self.picture(&format!("{name}{scheme}"));
            self.phone(true);
            self.no_sideways_scrolling();
            self.picture(&format!("{name}-phone{scheme}"));
            self.window(1100, 800);
        }
        self.dark(false);
    }

    /// Panics when something is wider than the window.
    pub fn no_sideways_scrolling(&self) {
        let wide = self.script(
            "const d = document.documentElement; return d.scrollWidth > d.clientWidth \
             ? [...document.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > d.clientWidth).map(e => e.outerHTML.slice(0, 80)) : []",
        );
        assert_eq!(wide, json!([]), "wider than the window");
    }

    /// What the page wrote to the console: blocked scripts, failed loads.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().cloned().unwrap_or_default();
        let text = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
        lines.iter().map(text).collect()
    }

    /// Panics when the page wrote anything there but what the test provoked.
    pub fn no_complaints(&self, provoked: &[&str]) {
        let mut complaints = self.complaints();
        // A field that counts over HTTPS alone.
        let opener = "Cross-Origin-Opener-Policy";
        complaints.retain(|line| {
            let known = |text: &&str| line.contains(text);
            !line.contains(opener) && !provoked.iter().any(known)
        });
        assert!(complaints.is_empty(), "Chromium complains: {complaints:?}");
    }

    fn ask(&self, verb: &str, path: &str, body: &Value) -> Value {
        let out = command(self.place, "curl")
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

impl Drop for Browser<'_> {
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

/// A program in the browser's namespace.
fn command(place: Option<&Namespace>, program: &str) -> Command {
    match place {
        Some(place) => place.command([program]),
        None => Command::new(program),
    }
}
