//! What an owner does on the pages, in Chromium on a host of the household.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO"
)]

use std::path::Path;
use std::time::Duration;

use netns_tests::browser::{Browser, ENTER};
use netns_tests::client::DhcpClient;
use netns_tests::isp::DhcpServer;
use netns_tests::street::{CONFIG, Street};
use netns_tests::told::status_when;
use netns_tests::{Proc, Workdir, told};
use serde_json::{Value, json};

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
    browser.wait_for("h1", "How the internet comes");
    browser.open(PAGE);
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

#[test]
fn changes_are_looked_at_undone_and_restored_on_the_pages() {
    let (street, _client) = home();
    let Some(browser) = owner(&street) else {
        return;
    };
    let config = || street.router.cli_json(&["config", "show"])["config"].clone();
    let lease_s = || config()["dhcp"]["lease_s"].clone();
    let commit = |toml: &str, reason: &str| {
        browser.open(&format!("{PAGE}config"));
        write(&browser, toml);
        browser.wait_for("#problems", "Nothing is wrong");
        browser.keys("#reason", reason);
        browser.click("[value=commit]");
        browser.wait_for("h1", "History");
        browser.wait_for(".revisions", reason);
    };
    let shorter = format!("[dhcp]\nlease_s = 3600\n{CONFIG}");
    commit(&shorter, "a <shorter> lease");
    let upstream = format!("{shorter}\n[dns]\nupstreams = [\"9.9.9.9\"]\n");
    commit(&upstream, "another resolver");
    assert_eq!(lease_s(), 3600);
    browser.wait_for(".revisions tbody tr:first-child", "in force");
    pictures(&browser, "history");

    // One change of two is undone, and the later one stays.
    browser.open(&format!("{PAGE}history/diff?to=2"));
    browser.wait_for(".changes", "dhcp.lease_s");
    browser.wait_for("h1", "What revision 2 changed");
    pictures(&browser, "diff");
    browser.click(".changes a");
    browser.wait_for("h1", "Undo what revision 2 did to dhcp.lease_s");
    browser.wait_for("#preview", "dhcp.lease_s");
    pictures(&browser, "undo");
    browser.click("main form button");
    browser.wait_for("h1", "History");
    browser.wait_for(".revisions", "undo dhcp.lease_s of revision 2");
    assert_eq!(lease_s(), 43200);
    assert_eq!(config()["dns"]["upstreams"], json!(["9.9.9.9"]));

    // A state as a whole, and what cannot be undone any more is said.
    browser.open(&format!("{PAGE}history/back?revision=2"));
    browser.wait_for("h1", "Restore revision 2 whole");
    browser.keys("#reason", &format!("it was better{ENTER}"));
    browser.wait_for(".revisions", "it was better");
    assert_eq!(lease_s(), 3600);
    browser.open(&format!("{PAGE}history/back?undo=3"));
    browser.wait_for(".alert", "cannot be undone");
    browser.open(&format!("{PAGE}history/diff?from=1&to=3"));
    browser.wait_for("h1", "From revision 1 to revision 3");
    browser.wait_for(".changes", "dns.upstreams");
    no_complaints(&browser, &[" 409 "]);
}

#[test]
fn without_scripts_a_change_is_previewed_committed_and_overtaken() {
    let (street, _client) = home();
    let Some(browser) = owner(&street) else {
        return;
    };
    browser.scripts(false);
    browser.open(&format!("{PAGE}config"));
    browser.wait_for(SETTINGS, "Settings");
    // The change of somebody else in between.
    let other = format!("[dhcp]\nlease_s = 3600\n{CONFIG}");
    let dir = Workdir::new("overtaken");
    let file = dir.write("other.toml", &other);
    street
        .router
        .cli_ok(&["config", "apply", file.to_str().unwrap()]);
    browser.keys("#toml", "# mine\n[ntp]\nserve = false\n");
    browser.click("[value=plan]");
    browser.wait_for("#plan", "ntp.serve");
    browser.wait_for("#plan", "dhcp.lease_s");
    browser.click("[value=commit]");
    browser.wait_for(".alert", "Somebody changed the settings while you wrote");
    let config = || street.router.cli_json(&["config", "show"]);
    assert_eq!(config()["revision"], 2);
    pictures(&browser, "settings-overtaken");
    browser.click("[value=commit]");
    browser.wait_for(".pending", "Revision 3 waits");
    browser.click(".pending [value=confirm]");
    browser.wait_until("the banner is gone", || browser.text("#pending").is_empty());
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
    no_complaints(&browser, &[" 412 "]);
}

/// A browser before the box has an owner.
fn visitor(street: &Street) -> Option<Browser<'_>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let Some(browser) = Browser::start(Some(&street.hosts[0].ns), folder) else {
        println!("SKIPPED: chromium and chromedriver are not installed");
        return None;
    };
    browser.window(1100, 800);
    Some(browser)
}

#[test]
fn the_first_visit_asks_shows_what_will_happen_and_does_it() {
    let (street, _client) = home();
    let Some(browser) = visitor(&street) else {
        return;
    };
    browser.open(PAGE);
    browser.wait_for("h1", "Welcome");
    pictures(&browser, "visit-1");
    browser.keys("#password", PASSWORD);
    browser.keys("#again", &format!("{PASSWORD}{ENTER}"));
    // By keyboard alone: the first field has the focus, Enter goes on.
    browser.wait_for("h1", "How the internet comes");
    pictures(&browser, "visit-2");
    browser.keys(":focus", ENTER);
    browser.wait_for("h1", "The home network");
    pictures(&browser, "visit-3");
    let write = |field: &str, text: &str| {
        browser.script(&format!("document.getElementById('{field}').value = ''"));
        browser.keys(&format!("[id='{field}']"), text);
    };
    write("lan.address", &format!("10.9.8.0/24{ENTER}"));
    browser.wait_for(".alert", "first or last address");
    pictures(&browser, "visit-3-wrong");
    write("lan.address", &format!("10.9.8.1/24{ENTER}"));
    browser.wait_for("h1", "The box itself");
    pictures(&browser, "visit-4");
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
    pictures(&browser, "visit-5");
    assert_eq!(told::status(&street.router)["config"]["revision"], 1);
    browser.click("[value=done]");
    // The page goes along, and nobody confirms by hand.
    browser.wait_until("the status page at the new address", || {
        browser.script("return location.href") == json!(NEW_PAGE)
    });
    browser.wait_for(".headline .title", "Online");
    let status = status_when(&street.router, "it is confirmed", PATIENCE, |status| {
        status["config"]["pending"].is_null() && status["kernel"]["converged"] == true
    });
    assert_eq!(status["config"]["revision"], 2, "{status}");
    assert_eq!(status["system"]["hostname"], "attic");
    no_complaints(&browser, &[" 422 "]);
}

#[test]
fn the_first_visit_needs_no_script() {
    let (street, _client) = home();
    let Some(browser) = visitor(&street) else {
        return;
    };
    browser.scripts(false);
    browser.phone(true);
    browser.open(PAGE);
    browser.wait_for("h1", "Welcome");
    browser.keys("#password", PASSWORD);
    browser.keys("#again", &format!("{PASSWORD}{ENTER}"));
    for title in [
        "How the internet comes",
        "The home network",
        "The box itself",
    ] {
        browser.wait_for("h1", title);
        browser.click("[value=next]");
    }
    // Every answer was the one that stood there: there is nothing to do.
    browser.wait_for(".headline .title", "Online");
    assert_eq!(told::status(&street.router)["config"]["revision"], 1);
    // And once more, with one answer that changes something.
    browser.open(&format!("{PAGE}welcome"));
    browser.wait_for("h1", "How the internet comes");
    browser.click("[value=none]");
    for title in [
        "How the internet comes",
        "The home network",
        "The box itself",
    ] {
        browser.wait_for("h1", title);
        browser.click("[value=next]");
    }
    browser.wait_for("h1", "What will happen");
    browser.wait_for(".changes", "wan.kind");
    browser.click("[value=done]");
    status_when(&street.router, "it is done", PATIENCE, |status| {
        status["config"]["revision"] == 2 && status["wan"]["mode"] == "off"
    });
}

#[test]
fn an_address_is_kept_and_a_name_added_with_a_click() {
    let (street, _client) = home();
    let host = &street.hosts[0];
    let Some(browser) = owner(&street) else {
        return;
    };
    let lease = host.lease(PATIENCE).address;
    let address = lease.split('/').next().unwrap();
    browser.open(&format!("{PAGE}devices"));
    browser.wait_for(".leases", "annes-laptop");
    pictures(&browser, "devices");
    browser.click("[value=reserve]");
    browser.wait_for(".reservations", address);
    browser.wait_for(".leases", "fixed");
    pictures(&browser, "devices-fixed");
    let kept = street.router.cli_json(&["config", "show"]);
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
    pictures(&browser, "names-wrong");
    browser.script("document.querySelector('#value').value = ''");
    browser.keys("#value", &format!("192.168.1.77{ENTER}"));
    browser.wait_for(".records", "nas.lan");
    assert_eq!(host.dig("192.168.1.1", &["nas.lan"]), ["192.168.1.77"]);
    pictures(&browser, "names");
    browser.click("[value=delete]");
    browser.wait_until("it is gone", || !browser.text(".records").contains("nas"));
    assert_eq!(host.dig("192.168.1.1", &["nas.lan"]), [] as [&str; 0]);
    no_complaints(&browser, &[" 422 "]);
}

#[test]
fn services_logs_and_people_are_looked_after_on_the_pages() {
    let (street, _client) = home();
    let Some(browser) = owner(&street) else {
        return;
    };
    browser.open(&format!("{PAGE}services"));
    browser.wait_for("h1", "Services");
    pictures(&browser, "services");
    let before = told::roles(&street.router)["dnsd"].pid;
    browser.click("[name=restart][value=dnsd]");
    browser.wait_for("h1", "Services");
    status_when(
        &street.router,
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
    pictures(&browser, "logs");
    browser.keys("#find", &format!("no line says this{ENTER}"));
    browser.wait_for("main", "0 of ");

    browser.open(&format!("{PAGE}people"));
    browser.wait_for(".sessions", "this one");
    browser.script("document.querySelectorAll('details').forEach(d => { d.open = true })");
    pictures(&browser, "people");
    browser.keys("#name", &format!("backup{ENTER}"));
    browser.wait_for("#made", "The new token");
    browser.wait_for(".tokens", "backup");
    let token = browser.script("return document.querySelector('#token').value");
    let bearer = format!("Authorization: Bearer {}", token.as_str().unwrap());
    let url = format!("{PAGE}api/status");
    let code = || {
        let args = [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-m",
            "5",
            "-w",
            "%{http_code}",
        ];
        street.hosts[0].ns.ok(args
            .into_iter()
            .chain(["-H", bearer.as_str(), url.as_str()]))
    };
    assert_eq!(code(), "200");
    browser.click("[value=delete-token]");
    browser.wait_for(".alert", "The token is deleted");
    assert_eq!(code(), "401");

    browser.script("document.querySelectorAll('details').forEach(d => { d.open = true })");
    browser.keys("#current", "not the password");
    browser.keys("#password", "eight green bottles");
    browser.keys("#again", &format!("eight green bottles{ENTER}"));
    browser.wait_for(".alert.bad", "password");
    browser.script("document.querySelectorAll('details').forEach(d => { d.open = true })");
    browser.keys("#current", PASSWORD);
    browser.keys("#password", "eight green bottles");
    browser.keys("#again", &format!("eight green bottles{ENTER}"));
    browser.wait_for(".alert.good", "The password is changed");
    browser.wait_for(".audit", "auth.password.change");
    browser.open(PAGE);
    browser.wait_for(".headline .title", "Online");
    no_complaints(&browser, &[" 422 ", " 401 ", " 403 "]);
}

#[test]
fn without_scripts_a_move_is_followed_by_a_link_and_confirmed_after_a_login() {
    let (street, _client) = home();
    let Some(browser) = owner(&street) else {
        return;
    };
    browser.scripts(false);
    browser.open(&format!("{PAGE}config"));
    let moved = format!("[lan]\naddress = \"10.9.8.1/24\"\n{CONFIG}");
    browser.script(&format!(
        "document.querySelector('#toml').value = {}",
        json!(moved)
    ));
    browser.click("[value=commit]");
    browser.wait_for("h1", "The box moves to 10.9.8.1");
    browser.wait_for("#by-hand", "log in there");
    assert_eq!(browser.text("#leading"), "");
    pictures(&browser, "moving");
    browser.click("#lead");
    browser.wait_for("h1", "You found the box at its new address");
    pictures(&browser, "moved");
    browser.click("#not-confirmed a");
    browser.wait_for("h1", "Log in");
    browser.keys("#password", &format!("{PASSWORD}{ENTER}"));
    browser.wait_for(".pending", "10.9.8.1");
    browser.click(".pending [value=confirm]");
    browser.wait_until("the banner is gone", || browser.text("#pending").is_empty());
    assert_eq!(told::status(&street.router)["config"]["revision"], 2);
    no_complaints(&browser, &[]);
}

#[test]
fn a_move_over_tls_ends_at_the_new_address_over_tls() {
    let (street, _client) = home();
    let Some(browser) = owner(&street) else {
        return;
    };
    let page = PAGE.replace("http:", "https:");
    browser.open(&page);
    browser.keys("#password", &format!("{PASSWORD}{ENTER}"));
    browser.wait_for(".headline .title", "Online");
    browser.open(&format!("{page}config"));
    write(
        &browser,
        &format!("[lan]\naddress = \"10.9.8.1/24\"\n{CONFIG}"),
    );
    browser.wait_for("#problems", "Nothing is wrong");
    browser.click("[value=commit]");
    browser.wait_until("the status page at the new address", || {
        browser.script("return location.href") == json!(NEW_PAGE.replace("http:", "https:"))
    });
    browser.wait_for(".headline .title", "Online");
    let config = told::status(&street.router)["config"].clone();
    assert_eq!(config["revision"], 2, "{config}");
    assert!(config["pending"].is_null(), "{config}");
    no_complaints(&browser, &[]);
}

#[test]
fn a_page_says_when_nobody_confirmed_in_time() {
    let (street, _client) = home();
    let Some(browser) = owner(&street) else {
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
    pictures(&browser, "taken-back");
    browser.wait_for("#pending", "was not confirmed");
    assert_eq!(told::status(&street.router)["lan"]["domain"], "lan");
    no_complaints(&browser, &[]);
}

#[test]
fn a_second_factor_is_added_on_the_page_and_asked_for_at_the_login() {
    let (street, _client) = home();
    let Some(browser) = owner(&street) else {
        return;
    };
    browser.open(&format!("{PAGE}people"));
    browser.wait_for("#factor", "the password alone");
    browser.click("#factor summary");
    browser.keys("#factor-password", &format!("{PASSWORD}{ENTER}"));
    browser.wait_for("#factor", "by its link");
    pictures(&browser, "factor");
    let secret = browser.script("return document.querySelector('#secret').value");
    let phone = |ahead_s: u32| {
        let at = format!("now + {ahead_s} sec");
        let mut oathtool = std::process::Command::new("oathtool");
        oathtool.args(["--totp", "--base32", "--now", &at, secret.as_str().unwrap()]);
        let said = oathtool.output().unwrap().stdout;
        String::from_utf8(said).unwrap().trim().to_owned()
    };
    browser.keys("#code", &format!("{}{ENTER}", phone(0)));
    browser.wait_for("#factor", "a code from your phone");
    browser.click(".bar button");
    browser.wait_for("h1", "Log in");
    pictures(&browser, "login-factor");
    browser.keys("#code", "000000");
    browser.keys("#password", &format!("{PASSWORD}{ENTER}"));
    browser.wait_for(".alert", "The code is wrong");
    browser.keys("#code", &phone(30));
    browser.keys("#password", &format!("{PASSWORD}{ENTER}"));
    browser.wait_for(".headline .title", "Online");
    no_complaints(&browser, &[" 401 "]);
}
