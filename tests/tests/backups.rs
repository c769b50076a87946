//! Backups as a household meets them: over REST with curl, and on the pages in Chromium.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::path::Path;
use std::time::Duration;

use netns_tests::browser::{Browser, ENTER};
use netns_tests::client::DhcpClient;
use netns_tests::isp::DhcpServer;
use netns_tests::street::{CONFIG, Street};
use netns_tests::{Proc, Workdir, told};
use serde_json::{Value, json};

const PAGE: &str = "http://192.168.1.1/";
const PASSWORD: &str = "seven green bottles";
const WORDS: &str = "four words are enough";
const PATIENCE: Duration = Duration::from_secs(30);

fn home() -> (Street, Proc) {
    let street = Street::new(DhcpServer::Dnsmasq, CONFIG, 1);
    let client = street.hosts[0].dhcp(DhcpClient::Udhcpc, "annes-laptop");
    street.hosts[0].lease(PATIENCE);
    (street, client)
}

/// What curl gets with a session: status and body.
fn ask(street: &Street, dir: &Workdir, verb: &str, path: &str, more: &[&str]) -> (u16, Value) {
    let (url, jar) = (format!("{PAGE}{path}"), dir.path("cookies"));
    let jar = jar.to_str().unwrap();
    let mut args = vec!["curl", "-s", "-S", "-m", "20", "-b", jar, "-c", jar];
    args.extend(["-X", verb, "-w", "\n%{http_code}"]);
    args.extend(more);
    args.push(&url);
    let text = street.hosts[0].ns.ok(args);
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap())
}

/// The same with a JSON body, from a file since it is long.
fn post(street: &Street, dir: &Workdir, path: &str, body: &Value) -> (u16, Value) {
    let file = dir.write("body.json", &body.to_string());
    let data = format!("@{}", file.display());
    let more = [
        "-H",
        "Content-Type: application/json",
        "--data-binary",
        &data,
    ];
    ask(street, dir, "POST", path, &more)
}

#[test]
fn a_backup_goes_out_and_comes_back_over_rest() {
    let (street, _client) = home();
    let dir = Workdir::new("backups");
    let session = post(
        &street,
        &dir,
        "api/auth/setup",
        &json!({ "password": PASSWORD }),
    );
    assert_eq!(session.0, 200);
    let seal = format!("Passphrase: {WORDS}");
    let (status, sealed) = ask(&street, &dir, "GET", "api/config/export", &["-H", &seal]);
    assert_eq!((status, &sealed["sealed"]), (200, &json!(true)), "{sealed}");
    let (_, open) = ask(&street, &dir, "GET", "api/config/export", &[]);
    assert!(open["content"].as_str().unwrap().contains(CONFIG), "{open}");

    // A change, and the way back.
    let (status, _) = post(
        &street,
        &dir,
        "api/config/commit",
        &json!({ "toml": format!("{CONFIG}[dns]\nrebind_protection = false\n") }),
    );
    assert_eq!(status, 200);
    let import = |content: &str, passphrase: &str| {
        let body = json!({ "content": content, "passphrase": passphrase });
        post(&street, &dir, "api/config/import", &body)
    };
    let content = sealed["content"].as_str().unwrap();
    let (status, problem) = import(content, "other words than those");
    assert_eq!(
        (status, problem["type"].as_str()),
        (422, Some("wrong-passphrase"))
    );
    let (status, problem) = import(&content[..content.len() - 60], WORDS);
    assert_eq!(
        (status, problem["type"].as_str()),
        (422, Some("damaged-backup"))
    );
    let (status, info) = import(content, WORDS);
    assert_eq!(
        (status, &info["origin"]),
        (200, &json!("imported")),
        "{info}"
    );
    // The largest that is taken, and more: told, and the box goes on.
    let (status, _) = import(&"x".repeat(440 * 1024), WORDS);
    assert_eq!(status, 422);
    let (status, _) = import(&"x".repeat(600 * 1024), WORDS);
    assert_eq!(status, 413);
    let restore = format!("api/config/restore/{}", info["id"]);
    let (status, done) = post(&street, &dir, &restore, &json!({}));
    assert_eq!((status, &done["committed"]), (200, &json!(true)), "{done}");
    let (_, list) = ask(&street, &dir, "GET", "api/config/backups?limit=2", &[]);
    assert_eq!(list["items"][0]["origin"], "commit");
    assert_eq!(list["items"][1]["id"], info["id"]);
    assert!(list["next"].is_string());
    let (_, config) = ask(&street, &dir, "GET", "api/config", &[]);
    assert_eq!(config["toml"], CONFIG);
}

#[test]
fn the_owner_keeps_takes_along_and_brings_back_on_the_pages() {
    let (street, _client) = home();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let Some(browser) = Browser::start(Some(&street.hosts[0].ns), folder) else {
        println!("SKIPPED: chromium and chromedriver are not installed");
        return;
    };
    browser.window(1100, 800);
    browser.open(PAGE);
    browser.keys("#password", PASSWORD);
    browser.keys("#again", &format!("{PASSWORD}{ENTER}"));
    browser.wait_for("h1", "How the internet comes");
    browser.open(PAGE);
    browser.wait_for(".headline .title", "Online");
    browser.open(&format!("{PAGE}history"));
    browser.click("main a[href='/history/backups']");
    browser.wait_for("h1", "Backups");
    browser.keys("#reason", "before the fair");
    browser.click("[value=make]");
    browser.wait_for(".alert.good", "The backup is made");
    browser.wait_for(".backups", "before the fair");
    for (dark, scheme) in [(false, ""), (true, "-dark")] {
        browser.dark(dark);
        browser.no_sideways_scrolling();
        browser.picture(&format!("backups{scheme}"));
        browser.phone(true);
        browser.no_sideways_scrolling();
        browser.picture(&format!("backups-phone{scheme}"));
        browser.window(1100, 800);
    }
    browser.dark(false);

    // What the download's form brings, as its button sends it.
    browser.keys("#seal", WORDS);
    browser.keys("#again", "four words are not");
    browser.click("[value=export]");
    browser.wait_for(".alert.bad", "The two passphrases differ");
    let download = |passphrase: &str| {
        browser.script(&format!(
            "const form = document.querySelector('#along form');
             const fields = new URLSearchParams(new FormData(form));
             fields.set('do', 'export');
             fields.set('passphrase', {p}); fields.set('again', {p});
             const asked = new XMLHttpRequest();
             asked.open('POST', form.action, false);
             asked.send(fields);
             return [asked.getResponseHeader('content-disposition'), asked.responseText]",
            p = json!(passphrase)
        ))
    };
    let sealed = download(WORDS);
    let name = sealed[0].as_str().unwrap();
    assert!(name.starts_with("attachment; filename=\"lintel-"), "{name}");
    assert!(name.ends_with(".toml.age\""), "{name}");
    let open = download("");
    let open = open[1].as_str().unwrap();
    assert!(open.contains(CONFIG), "{open}");

    // The file of another box, whose way to the internet had another name.
    let dir = Workdir::new("backups-page");
    let file = dir.write("sealed.age", sealed[1].as_str().unwrap());
    browser.keys("#file", file.to_str().unwrap());
    let read = "return document.querySelector('#content').value.length > 100";
    browser.wait_until("the file is read", || browser.script(read) == json!(true));
    browser.keys("#open", "not these words");
    browser.click("[value=import]");
    browser.wait_for(".alert.bad", "The passphrase is wrong");
    let other = open
        .replace("wan0", "old7")
        .replace("[run]", "[run]\n[lan]\ndomain = \"fair\"");
    let file = dir.write("other.toml", &other);
    browser.keys("#file", file.to_str().unwrap());
    browser.wait_until("the file is read", || browser.script(read) == json!(true));
    browser.click("[value=import]");
    browser.wait_for(".alert.good", "The backup is taken in");
    browser.click(".backups tbody tr:first-child a");
    browser.wait_for("h1", "Restore backup 2");
    browser.wait_for("#ports", "old7");
    browser.picture("restore-ports");
    browser.script("document.querySelector('#port-1').value = 'wan0'");
    browser.click("#ports button");
    browser.wait_for("#preview", "fair");
    browser.picture("restore-plan");
    browser.click("main form button");
    browser.wait_for(".revisions", "backup 2 of ");
    let status = told::status(&street.router);
    assert_eq!(status["config"]["revision"], 2, "{status}");
    assert_eq!(status["wan"]["link"], "wan0", "{status}");
    let mut complaints = browser.complaints();
    complaints
        .retain(|line| !line.contains("Cross-Origin-Opener-Policy") && !line.contains(" 422 "));
    assert!(complaints.is_empty(), "Chromium complains: {complaints:?}");
}
