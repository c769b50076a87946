//! What is looked after from day to day: devices, names, services, logs and people.

use netns_tests::browser::ENTER;
use netns_tests::home::{Home, PASSWORD, PATIENCE};
use netns_tests::pages::{PAGE, choose, is_online, log_in, owner};
use netns_tests::phone;
use netns_tests::told::{self, status_when};
use serde_json::json;

use super::FOLDER;

#[test]
fn an_address_is_kept_and_a_name_added_with_a_click() {
    let home = Home::new(1);
    let host = home.host();
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    let lease = host.lease(PATIENCE).address;
    let address = lease.split('/').next().unwrap();
    browser.open(&format!("{PAGE}devices"));
    browser.wait_for(".leases", "annes-laptop");
    browser.pictures("devices");
    browser.click("[value=reserve]");
    browser.wait_for(".reservations", address);
    browser.wait_for(".leases", "fixed");
    browser.pictures("devices-fixed");
    let kept = home.router().cli_json(&["config", "show"]);
    let kept = &kept["config"]["dhcp"]["reservations"];
    assert_eq!(kept[0]["address"], address, "{kept}");
    browser.click("[value=release]");
    browser.wait_until("it is gone", || browser.text(".reservations").is_empty());

    browser.open(&format!("{PAGE}names"));
    browser.wait_for("h1", "Names");
    browser.click("summary");
    browser.keys("#name", "nas");
    browser.keys("#value", &format!("192.168.1.999{ENTER}"));
    browser.wait_for(".alert", "value: \"192.168.1.999\" is no IPv4 address");
    assert_eq!(
        browser.script("return document.querySelector('#name').value"),
        json!("nas")
    );
    browser.pictures("names-wrong");
    browser.script("document.querySelector('#value').value = ''");
    browser.keys("#value", &format!("192.168.1.77{ENTER}"));
    browser.wait_for(".records", "nas.lan");
    assert_eq!(host.dig("192.168.1.1", &["nas.lan"]), ["192.168.1.77"]);
    browser.pictures("names");
    browser.click("[value=delete]");
    browser.wait_until("it is gone", || !browser.text(".records").contains("nas"));
    assert_eq!(host.dig("192.168.1.1", &["nas.lan"]), [] as [&str; 0]);
    browser.no_complaints(&[" 422 "]);
}

#[test]
fn services_logs_and_people_are_looked_after_on_the_pages() {
    let home = Home::new(1);
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    browser.open(&format!("{PAGE}services"));
    browser.wait_for("h1", "Services");
    browser.pictures("services");
    let before = told::roles(home.router())["dnsd"].pid;
    browser.click("[name=restart][value=dnsd]");
    browser.wait_for("h1", "Services");
    status_when(
        home.router(),
        "dnsd is another process",
        PATIENCE,
        |status| {
            let roles = status["services"].as_array().unwrap();
            let dnsd = roles.iter().find(|role| role["name"] == "dnsd").unwrap();
            dnsd["state"] == "ready" && dnsd["pid"] != json!(before)
        },
    );

    browser.open(&format!("{PAGE}logs?role=controld"));
    browser.wait_for(".log", "controld");
    browser.pictures("logs");
    browser.keys("#find", &format!("no line says this{ENTER}"));
    browser.wait_for("main", "0 of ");

    browser.open(&format!("{PAGE}people"));
    browser.wait_for(".sessions", "this one");
    let unfold = || {
        browser.script("document.querySelectorAll('details').forEach(d => { d.open = true })");
    };
    unfold();
    browser.pictures("people");
    browser.keys("#name", &format!("backup{ENTER}"));
    browser.wait_for("#made", "The new token");
    browser.wait_for(".tokens", "backup");
    let token = browser.script("return document.querySelector('#token').value");
    let token = token.as_str().unwrap();
    let status = || home.program(token).get("/api/status").status;
    assert_eq!(status(), 200);
    browser.click("[value=delete-token]");
    browser.wait_for(".alert", "The token is deleted");
    assert_eq!(status(), 401);

    unfold();
    browser.keys("#current", "not the password");
    choose(&browser, "eight green bottles");
    browser.wait_for(".alert.bad", "password");
    unfold();
    browser.keys("#current", PASSWORD);
    choose(&browser, "eight green bottles");
    browser.wait_for(".alert.good", "The password is changed");
    browser.wait_for(".audit", "auth.password.change");
    browser.open(PAGE);
    is_online(&browser);
    browser.no_complaints(&[" 422 ", " 401 ", " 403 "]);
}

#[test]
fn a_second_factor_is_added_on_the_page_and_asked_for_at_the_login() {
    let home = Home::new(1);
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    browser.open(&format!("{PAGE}people"));
    browser.wait_for("#factor", "the password alone");
    browser.click("#factor summary");
    browser.keys("#factor-password", &format!("{PASSWORD}{ENTER}"));
    browser.wait_for("#factor", "by its link");
    browser.pictures("factor");
    let secret = browser.script("return document.querySelector('#secret').value");
    let phone = |ahead_s: u32| phone::code(secret.as_str().unwrap(), ahead_s);
    browser.keys("#code", &format!("{}{ENTER}", phone(0)));
    browser.wait_for("#factor", "a code from your phone");
    browser.click(".bar button");
    browser.wait_for("h1", "Log in");
    browser.pictures("login-factor");
    browser.keys("#code", "000000");
    browser.keys("#password", &format!("{PASSWORD}{ENTER}"));
    browser.wait_for(".alert", "The code is wrong");
    browser.keys("#code", &phone(30));
    log_in(&browser, PASSWORD);
    browser.no_complaints(&[" 401 "]);
}
