//! Backups as a household meets them: over REST with curl, and on the pages in Chromium.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use netns_tests::caller::Answer;
use netns_tests::home::{Home, PASSWORD};
use netns_tests::pages::{PAGE, owner};
use netns_tests::street::CONFIG;
use netns_tests::told;
use serde_json::json;

const WORDS: &str = "four words are enough";

#[test]
fn a_backup_goes_out_and_comes_back_over_rest() {
    let home = Home::claimed(1);
    let owner = home.owner();
    let seal = format!("Passphrase: {WORDS}");
    let sealed = owner.ask("GET", "/api/config/export", &["-H", &seal]);
    assert_eq!(sealed.status, 200, "{}", sealed.body);
    let sealed = sealed.json();
    assert_eq!(sealed["sealed"], true, "{sealed}");
    let open = owner.get("/api/config/export").json();
    assert!(open["content"].as_str().unwrap().contains(CONFIG), "{open}");

    // A change, and the way back.
    let toml = format!("{CONFIG}[dns]\nrebind_protection = false\n");
    let commit = owner.send("POST", "/api/config/commit", &json!({ "toml": toml }));
    assert_eq!(commit.status, 200);
    let import = |content: &str, passphrase: &str| {
        let body = json!({ "content": content, "passphrase": passphrase });
        owner.send("POST", "/api/config/import", &body)
    };
    let refused = |answer: Answer, kind: &str| {
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert_eq!(answer.problem()["type"], kind);
    };
    let content = sealed["content"].as_str().unwrap();
    refused(
        import(content, "other words than those"),
        "wrong-passphrase",
    );
    refused(
        import(&content[..content.len() - 60], WORDS),
        "damaged-backup",
    );
    let taken = import(content, WORDS);
    assert_eq!(taken.status, 200, "{}", taken.body);
    let info = taken.json();
    assert_eq!(info["origin"], "imported", "{info}");
    // The largest that is taken, and more: told, and the box goes on.
    assert_eq!(import(&"x".repeat(440 * 1024), WORDS).status, 422);
    assert_eq!(import(&"x".repeat(600 * 1024), WORDS).status, 413);
    let restore = format!("/api/config/restore/{}", info["id"]);
    let done = owner.send("POST", &restore, &json!({}));
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(done.json()["committed"], true, "{}", done.body);
    let list = owner.get("/api/config/backups?limit=2").json();
    assert_eq!(list["items"][0]["origin"], "commit");
    assert_eq!(list["items"][1]["id"], info["id"]);
    assert!(list["next"].is_string());
    let config = owner.get("/api/config").json();
    assert_eq!(config["toml"], CONFIG);
}

#[test]
fn the_owner_keeps_takes_along_and_brings_back_on_the_pages() {
    let home = Home::new(1);
    let folder = env!("CARGO_TARGET_TMPDIR");
    let Some(browser) = owner(home.host(), folder, PASSWORD) else {
        return;
    };
    browser.open(&format!("{PAGE}history"));
    browser.click("main a[href='/history/backups']");
    browser.wait_for("h1", "Backups");
    browser.keys("#reason", "before the fair");
    browser.click("[value=make]");
    browser.wait_for(".alert.good", "The backup is made");
    browser.wait_for(".backups", "before the fair");
    browser.pictures("backups");

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
    let file = home.dir.write("sealed.age", sealed[1].as_str().unwrap());
    browser.keys("#file", file.to_str().unwrap());
    let read = "return document.querySelector('#content').value.length > 100";
    browser.wait_until("the file is read", || browser.script(read) == json!(true));
    browser.keys("#open", "not these words");
    browser.click("[value=import]");
    browser.wait_for(".alert.bad", "The passphrase is wrong");
    let other = open
        .replace("wan0", "old7")
        .replace("[run]", "[run]\n[lan]\ndomain = \"fair\"");
    let file = home.dir.write("other.toml", &other);
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
    let status = told::status(home.router());
    assert_eq!(status["config"]["revision"], 2, "{status}");
    assert_eq!(status["wan"]["link"], "wan0", "{status}");
    browser.no_complaints(&[" 422 "]);
}
