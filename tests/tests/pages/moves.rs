//! A household that moves to another network, followed by the page that moved it.

use netns_tests::browser::ENTER;
use netns_tests::home::{Home, PASSWORD, PATIENCE};
use netns_tests::pages::{PAGE, is_led_to, is_online, log_in, owner, write};
use netns_tests::told::{self, status_when};
use serde_json::json;

use super::{FOLDER, NEW_PAGE, banner_is_gone, moved, open_settings};

#[test]
fn a_move_of_the_household_ends_confirmed_in_the_same_tab() {
    let home = Home::new(1);
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    open_settings(&browser, PAGE);
    write(&browser, &moved());
    browser.wait_for("#problems", "Nothing is wrong");
    browser.click("[value=plan]");
    browser.wait_for("#plan", "192.168.1.1/24");
    browser.wait_for("#plan", "The box moves to 10.9.8.1");
    browser.pictures("settings-move");
    browser.keys("#reason", "away from the modem's network");
    browser.click("[value=commit]");

    // From here on nobody touches anything.
    is_led_to(&browser, NEW_PAGE);
    is_online(&browser);
    browser.wait_for("#live", "10.9.8.1/24");
    let status = status_when(home.router(), "it is confirmed", PATIENCE, |status| {
        status["config"]["pending"].is_null() && status["kernel"]["converged"] == true
    });
    assert_eq!(status["config"]["revision"], 2, "{status}");
    assert_eq!(browser.text("#pending"), "");
    // The token is nowhere that somebody could find it: the session does not need it.
    let session = browser.script("return document.cookie + history.state + document.referrer");
    assert!(!session.to_string().contains('#'), "{session}");
    open_settings(&browser, NEW_PAGE);
    browser.no_complaints(&[]);
}

#[test]
fn without_scripts_a_move_is_followed_by_a_link_and_confirmed_after_a_login() {
    let home = Home::new(1);
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    browser.scripts(false);
    browser.open(&format!("{PAGE}config"));
    browser.script(&format!(
        "document.querySelector('#toml').value = {}",
        json!(moved())
    ));
    browser.click("[value=commit]");
    browser.wait_for("h1", "The box moves to 10.9.8.1");
    browser.wait_for("#by-hand", "log in there");
    assert_eq!(browser.text("#leading"), "");
    browser.pictures("moving");
    browser.click("#lead");
    browser.wait_for("h1", "You found the box at its new address");
    browser.pictures("moved");
    browser.click("#not-confirmed a");
    browser.wait_for("h1", "Log in");
    browser.keys("#password", &format!("{PASSWORD}{ENTER}"));
    browser.wait_for(".pending", "10.9.8.1");
    browser.click(".pending [value=confirm]");
    banner_is_gone(&browser);
    assert_eq!(told::status(home.router())["config"]["revision"], 2);
    browser.no_complaints(&[]);
}

#[test]
fn a_move_over_tls_ends_at_the_new_address_over_tls() {
    let home = Home::new(1);
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    let page = PAGE.replace("http:", "https:");
    browser.open(&page);
    log_in(&browser, PASSWORD);
    browser.open(&format!("{page}config"));
    write(&browser, &moved());
    browser.wait_for("#problems", "Nothing is wrong");
    browser.click("[value=commit]");
    is_led_to(&browser, &NEW_PAGE.replace("http:", "https:"));
    is_online(&browser);
    let config = told::status(home.router())["config"].clone();
    assert_eq!(config["revision"], 2, "{config}");
    assert!(config["pending"].is_null(), "{config}");
    browser.no_complaints(&[]);
}
