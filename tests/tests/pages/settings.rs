//! Settings that are written, judged, previewed, kept or taken back.

use netns_tests::browser::ENTER;
use netns_tests::home::{Home, PASSWORD};
use netns_tests::pages::{PAGE, owner, write};
use netns_tests::street::CONFIG;
use netns_tests::{Workdir, told};
use serde_json::{Value, json};

use super::{FOLDER, banner_is_gone, open_settings};

#[test]
fn a_change_that_waits_is_shown_on_every_page_until_it_is_kept_or_taken_back() {
    let home = Home::new(1);
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    let edit = |domain: &str| {
        open_settings(&browser, PAGE);
        write(&browser, &format!("[lan]\ndomain = \"{domain}\"\n{CONFIG}"));
        browser.wait_for("#problems", "Nothing is wrong");
        browser.script("document.querySelector('#confirm_s').value = '90'");
        browser.keys("#reason", "a nicer name");
        browser.click("[value=commit]");
        browser.wait_for(".pending", "waits to be confirmed");
    };
    edit("home");
    browser.wait_for(".pending", "a nicer name");
    browser.pictures("pending");
    for path in ["", "config"] {
        browser.open(&format!("{PAGE}{path}"));
        browser.wait_for(".pending", "Revision 2 waits");
    }
    browser.click(".pending [value=rollback]");
    banner_is_gone(&browser);
    assert_eq!(told::status(home.router())["lan"]["domain"], "lan");

    edit("home");
    browser.click(".pending [value=confirm]");
    banner_is_gone(&browser);
    let status = told::status(home.router());
    assert_eq!(status["lan"]["domain"], "home");
    assert!(status["config"]["pending"].is_null(), "{status}");

    // What is wrong is said while it is written, with its line, and again by who has no script.
    open_settings(&browser, PAGE);
    let wrong = format!("[lan]\ndomian = \"home\"\naddress = \"10.9.8.1/99\"\n{CONFIG}");
    write(&browser, &wrong);
    browser.wait_for("#problems", "Line 2");
    browser.wait_for("#problems", "lan.domian");
    browser.wait_for("#problems", "lan.address");
    browser.pictures("settings-wrong");
    browser.click("#problems li:nth-child(2) button");
    let selected = "const e = document.activeElement; \
                    return e.value.slice(e.selectionStart, e.selectionEnd)";
    assert_eq!(browser.script(selected), json!("address = \"10.9.8.1/99\""));
    browser.click("[value=commit]");
    browser.wait_for(".alert", "The configuration has problems");
    browser.wait_for("#problems", "Line 2");
    assert_eq!(told::status(home.router())["config"]["revision"], 3);
    browser.no_complaints(&[" 422 "]);
}

#[test]
fn without_scripts_a_change_is_previewed_committed_and_overtaken() {
    let home = Home::new(1);
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    browser.scripts(false);
    open_settings(&browser, PAGE);
    // The change of somebody else in between.
    let other = format!("[dhcp]\nlease_s = 3600\n{CONFIG}");
    let dir = Workdir::new("overtaken");
    let file = dir.write("other.toml", &other);
    home.router()
        .cli_ok(&["config", "apply", file.to_str().unwrap()]);
    browser.keys("#toml", "# mine\n[ntp]\nserve = false\n");
    browser.click("[value=plan]");
    browser.wait_for("#plan", "ntp.serve");
    browser.wait_for("#plan", "dhcp.lease_s");
    browser.click("[value=commit]");
    browser.wait_for(".alert", "Somebody changed the settings while you wrote");
    let config = || home.router().cli_json(&["config", "show"]);
    assert_eq!(config()["revision"], 2);
    browser.pictures("settings-overtaken");
    browser.click("[value=commit]");
    browser.wait_for(".pending", "Revision 3 waits");
    browser.click(".pending [value=confirm]");
    banner_is_gone(&browser);
    assert_eq!(config()["config"]["ntp"]["serve"], false);

    // A name comes and goes, and the rest stays as its author wrote it.
    let before = config()["toml"].clone();
    assert!(before.as_str().unwrap().contains("# mine"), "{before}");
    browser.open(&format!("{PAGE}names"));
    browser.click("summary");
    browser.keys("#name", "nas");
    browser.keys("#value", &format!("192.168.1.77{ENTER}"));
    browser.wait_for(".records", "nas.lan");
    browser.click("[value=delete]");
    browser.wait_until("it is gone", || !browser.text(".records").contains("nas"));
    let after = config()["toml"].clone();
    let trimmed = |text: &Value| text.as_str().unwrap().trim().to_owned();
    assert_eq!(trimmed(&after), trimmed(&before));
    browser.no_complaints(&[" 412 "]);
}

#[test]
fn a_page_says_when_nobody_confirmed_in_time() {
    let home = Home::new(1);
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    browser.open(&format!("{PAGE}config"));
    write(&browser, &format!("[lan]\ndomain = \"home\"\n{CONFIG}"));
    browser.script("document.querySelector('#confirm_s').options[1].value = '10'");
    browser.script("document.querySelector('#confirm_s').selectedIndex = 1");
    browser.click("[value=commit]");
    browser.wait_for(".pending", "Revision 2 waits");
    // The page counts down and looks again by itself.
    browser.wait_for(
        "#pending",
        "Revision 2 of the configuration was not confirmed",
    );
    browser.wait_for(".revisions", "taken back");
    browser.pictures("taken-back");
    browser.wait_for("#pending", "was not confirmed");
    assert_eq!(told::status(home.router())["lan"]["domain"], "lan");
    browser.no_complaints(&[]);
}
