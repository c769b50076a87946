//! What an owner does on the pages, in Chromium on a host of the household.
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
use netns_tests::told::status_when;
use netns_tests::{Proc, told};
use serde_json::json;

const PAGE: &str = "http://192.168.1.1/";
const NEW_PAGE: &str = "http://10.9.8.1/";
const PASSWORD: &str = "seven green bottles";
const PATIENCE: Duration = Duration::from_secs(30);
const SETTINGS: &str = "main h1";

/// A street of one host with a lease.
fn home() -> (Street, Proc) {
    let street = Street::new(DhcpServer::Dnsmasq, CONFIG, 1);
    let client = street.hosts[0].dhcp(DhcpClient::Udhcpc, "annes-laptop");
    street.hosts[0].lease(PATIENCE);
    (street, client)
}

/// A browser of the host whose owner is logged in; `None` where there is none.
fn owner(street: &Street) -> Option<Browser<'_>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let Some(browser) = Browser::start(Some(&street.hosts[0].ns), folder) else {
        println!("SKIPPED: chromium and chromedriver are not installed");
        return None;
    };
    browser.window(1100, 800);
    browser.open(PAGE);
    browser.keys("#password", PASSWORD);
    browser.keys("#again", &format!("{PASSWORD}{ENTER}"));
    browser.wait_for(".headline .title", "Online");
    Some(browser)
}

/// Writes this into the editor, as a person would paste it.
fn write(browser: &Browser<'_>, toml: &str) {
    browser.script(&format!(
        "const e = document.querySelector('#toml'); e.value = {}; \
         e.dispatchEvent(new Event('input', {{bubbles: true}}))",
        json!(toml)
    ));
}

/// Pictures of a page in both colour schemes, in a window and on a phone.
fn pictures(browser: &Browser<'_>, name: &str) {
    for (dark, scheme) in [(false, ""), (true, "-dark")] {
        browser.dark(dark);
        browser.no_sideways_scrolling();
        browser.picture(&format!("{name}{scheme}"));
        browser.phone(true);
        browser.no_sideways_scrolling();
        browser.picture(&format!("{name}-phone{scheme}"));
        browser.window(1100, 800);
    }
    browser.dark(false);
}

/// What Chromium says about the pages, but for what the test provoked.
fn no_complaints(browser: &Browser<'_>, provoked: &[&str]) {
    let opener = "Cross-Origin-Opener-Policy";
    let mut complaints = browser.complaints();
    complaints.retain(|line| {
        let known = |text: &&str| line.contains(text);
        !line.contains(opener) && !provoked.iter().any(known)
    });
    assert!(complaints.is_empty(), "Chromium complains: {complaints:?}");
}

#[test]
fn a_move_of_the_household_ends_confirmed_in_the_same_tab() {
    let (street, _client) = home();
    let Some(browser) = owner(&street) else {
        return;
    };
    browser.open(&format!("{PAGE}config"));
    browser.wait_for(SETTINGS, "Settings");
    write(
        &browser,
        &format!("[lan]\naddress = \"10.9.8.1/24\"\n{CONFIG}"),
    );
    browser.wait_for("#problems", "Nothing is wrong");
    browser.click("[value=plan]");
    browser.wait_for("#plan", "192.168.1.1/24");
    browser.wait_for("#plan", "The box moves to 10.9.8.1");
    pictures(&browser, "settings-move");
    browser.keys("#reason", "away from the modem's network");
    browser.click("[value=commit]");

    // From here on nobody touches anything.
    let place = "return location.href";
    browser.wait_until("the status page at the new address", || {
        browser.script(place) == json!(NEW_PAGE)
    });
    browser.wait_for(".headline .title", "Online");
    browser.wait_for("#live", "10.9.8.1/24");
    let status = status_when(&street.router, "it is confirmed", PATIENCE, |status| {
        status["config"]["pending"].is_null() && status["kernel"]["converged"] == true
    });
    assert_eq!(status["config"]["revision"], 2, "{status}");
    assert_eq!(browser.text("#pending"), "");
    // The token is nowhere that somebody could find it: the session does not need it.
    let session = browser.script("return document.cookie + history.state + document.referrer");
    assert!(!session.to_string().contains('#'), "{session}");
    browser.open(&format!("{NEW_PAGE}config"));
    browser.wait_for(SETTINGS, "Settings");
    no_complaints(&browser, &[]);
}

#[test]
fn a_change_that_waits_is_shown_on_every_page_until_it_is_kept_or_taken_back() {
    let (street, _client) = home();
    let Some(browser) = owner(&street) else {
        return;
    };
    let edit = |domain: &str| {
        browser.open(&format!("{PAGE}config"));
        browser.wait_for(SETTINGS, "Settings");
        write(&browser, &format!("[lan]\ndomain = \"{domain}\"\n{CONFIG}"));
        browser.wait_for("#problems", "Nothing is wrong");
        browser.script("document.querySelector('#confirm_s').value = '90'");
        browser.keys("#reason", "a nicer name");
        browser.click("[value=commit]");
        browser.wait_for(".pending", "waits to be confirmed");
    };
    edit("home");
    browser.wait_for(".pending", "a nicer name");
    pictures(&browser, "pending");
    for path in ["", "config"] {
        browser.open(&format!("{PAGE}{path}"));
        browser.wait_for(".pending", "Revision 2 waits");
    }
    browser.click(".pending [value=rollback]");
    browser.wait_until("the banner is gone", || browser.text("#pending").is_empty());
    browser.wait_for("#live", "lan");
    assert_eq!(told::status(&street.router)["lan"]["domain"], "lan");

    edit("home");
    browser.click(".pending [value=confirm]");
    browser.wait_until("the banner is gone", || browser.text("#pending").is_empty());
    let status = told::status(&street.router);
    assert_eq!(status["lan"]["domain"], "home");
    assert!(status["config"]["pending"].is_null(), "{status}");

    // What is wrong is said while it is written, with its line, and again by who has no script.
    browser.open(&format!("{PAGE}config"));
    browser.wait_for(SETTINGS, "Settings");
    let wrong = format!("[lan]\ndomian = \"home\"\naddress = \"10.9.8.1/99\"\n{CONFIG}");
    write(&browser, &wrong);
    browser.wait_for("#problems", "Line 2");
    browser.wait_for("#problems", "lan.domian");
    browser.wait_for("#problems", "lan.address");
    pictures(&browser, "settings-wrong");
    browser.click("#problems li:nth-child(2) button");
    let selected = "const e = document.activeElement; \
                    return e.value.slice(e.selectionStart, e.selectionEnd)";
    assert_eq!(browser.script(selected), json!("address = \"10.9.8.1/99\""));
    browser.click("[value=commit]");
    browser.wait_for(".alert", "The configuration has problems");
    browser.wait_for("#problems", "Line 2");
    assert_eq!(told::status(&street.router)["config"]["revision"], 3);
    no_complaints(&browser, &[" 422 "]);
}
