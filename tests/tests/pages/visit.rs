//! The first visit.

use netns_tests::browser::{Browser, ENTER};
use netns_tests::home::{Home, PASSWORD, PATIENCE};
use netns_tests::pages::{PAGE, choose, is_led_to, is_online, visitor};
use netns_tests::told::{self, status_when};
use serde_json::json;

use super::{FOLDER, NEW_PAGE};

/// Goes on from each question with the answer that stands there.
fn takes_what_stands_there(browser: &Browser<'_>) {
    for title in [
        "How the internet comes",
        "The home network",
        "The box itself",
    ] {
        browser.wait_for("h1", title);
        browser.click("[value=next]");
    }
}

#[test]
fn the_first_visit_asks_shows_what_will_happen_and_does_it() {
    let home = Home::new(1);
    let Some(browser) = visitor(home.host(), FOLDER) else {
        return;
    };
    browser.open(PAGE);
    browser.wait_for("h1", "Welcome");
    browser.pictures("visit-1");
    choose(&browser, PASSWORD);
    // By keyboard alone: the first field has the focus, Enter goes on.
    browser.wait_for("h1", "How the internet comes");
    browser.pictures("visit-2");
    browser.keys(":focus", ENTER);
    browser.wait_for("h1", "The home network");
    browser.pictures("visit-3");
    let write = |field: &str, text: &str| {
        browser.script(&format!("document.getElementById('{field}').value = ''"));
        browser.keys(&format!("[id='{field}']"), text);
    };
    write("lan.address", &format!("10.9.8.0/24{ENTER}"));
    browser.wait_for(".alert", "first or last address");
    browser.pictures("visit-3-wrong");
    write("lan.address", &format!("10.9.8.1/24{ENTER}"));
    browser.wait_for("h1", "The box itself");
    browser.pictures("visit-4");
    browser.click("[value=back]");
    browser.wait_for("h1", "The home network");
    let kept = "return document.getElementById('lan.address').value";
    assert_eq!(browser.script(kept), json!("10.9.8.1/24"));
    browser.click("[value=next]");
    browser.wait_for("h1", "The box itself");
    write("system.hostname", &format!("attic{ENTER}"));
    browser.wait_for("h1", "What will happen");
    browser.wait_for("#preview", "The box moves to 10.9.8.1");
    browser.wait_for(".changes", "attic");
    browser.pictures("visit-5");
    assert_eq!(told::status(home.router())["config"]["revision"], 1);
    browser.click("[value=done]");
    // The page goes along, and nobody confirms by hand.
    is_led_to(&browser, NEW_PAGE);
    is_online(&browser);
    let status = status_when(home.router(), "it is confirmed", PATIENCE, |status| {
        status["config"]["pending"].is_null() && status["kernel"]["converged"] == true
    });
    assert_eq!(status["config"]["revision"], 2, "{status}");
    assert_eq!(status["system"]["hostname"], "attic");
    browser.no_complaints(&[" 422 "]);
}

#[test]
fn the_first_visit_needs_no_script() {
    let home = Home::new(1);
    let Some(browser) = visitor(home.host(), FOLDER) else {
        return;
    };
    browser.scripts(false);
    browser.phone(true);
    browser.open(PAGE);
    browser.wait_for("h1", "Welcome");
    choose(&browser, PASSWORD);
    takes_what_stands_there(&browser);
    // Every answer was the one that stood there: there is nothing to do.
    is_online(&browser);
    assert_eq!(told::status(home.router())["config"]["revision"], 1);
    // And once more, with one answer that changes something.
    browser.open(&format!("{PAGE}welcome"));
    browser.wait_for("h1", "How the internet comes");
    browser.click("[value=none]");
    takes_what_stands_there(&browser);
    browser.wait_for("h1", "What will happen");
    browser.wait_for(".changes", "wan.kind");
    browser.click("[value=done]");
    status_when(home.router(), "it is done", PATIENCE, |status| {
        status["config"]["revision"] == 2 && status["wan"]["mode"] == "off"
    });
}
