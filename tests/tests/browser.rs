//! The product as a new householder meets it: Chromium on a host that has its address, its
//! name and its way to the page from the running router. Pictures of each page are left in the
//! target directory for people to look at.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use netns_tests::browser::ENTER;
use netns_tests::client::DhcpClient;
use netns_tests::home::{Home, PASSWORD, PATIENCE};
use netns_tests::pages::{PAGE, choose, is_led_to, is_online, log_in, owner, visitor};
use netns_tests::{isp, told, until};
use serde_json::{Value, json};

/// Pictures go below it.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
/// Cells of a role's row on the page.
const DNSD: &str =
    "[...document.querySelectorAll('.services tbody tr')].find(r => r.innerText.includes('dnsd'))";

#[test]
fn a_householder_claims_the_router_and_watches_it() {
    let home = Home::new(3);
    assert_eq!(home.host().lease(PATIENCE).router, "192.168.1.1");
    let street = &home.street;
    let Some(browser) = visitor(home.host(), FOLDER) else {
        return;
    };

    // The first visit. The browser itself holds back what is too short; a client that does not
    // is told by the router.
    browser.open(PAGE);
    browser.wait_for("h1", "Welcome");
    browser.picture("setup");
    choose(&browser, "short");
    assert_eq!(
        browser.script("return document.querySelector('#password').validity.tooShort"),
        json!(true)
    );
    assert_eq!(browser.text("h1"), "Welcome");
    browser.script("document.querySelector('main form').noValidate = true");
    browser.click("main button");
    browser.wait_for(".alert", "Take at least 8 characters");
    browser.keys("#password", PASSWORD);
    browser.keys("#again", &format!("seven green battles{ENTER}"));
    browser.wait_for(".alert", "The two passwords differ");
    browser.picture("setup-differ");
    choose(&browser, PASSWORD);
    browser.wait_for("h1", "How the internet comes");
    browser.open(PAGE);

    // The status page says what is so.
    is_online(&browser);
    let status = told::status(home.router());
    let address = status["wan"]["lease"]["address"].as_str().unwrap();
    assert!(address.starts_with("198.51.100.1"), "{status}");
    browser.wait_for("#live", address);
    browser.wait_for("#live", isp::GATEWAY);
    browser.wait_for("table.stack", "annes-laptop");
    for role in ["netd", "controld", "wand", "dhcpd", "dnsd", "timed", "webd"] {
        browser.wait_for("table.services", role);
    }
    browser.script("window.neverReloaded = true");

    // It updates itself: another host comes, and a role is killed.
    let _second = street.hosts[1].dhcp(DhcpClient::Dhclient, "living-room-tv");
    let second = street.hosts[1].lease(PATIENCE);
    browser.wait_for("table.stack", "living-room-tv");
    browser.wait_for("table.stack", second.address.trim_end_matches("/24"));
    let _third = street.hosts[2].dhcp(DhcpClient::Udhcpc, "printer");
    browser.wait_for("table.stack", "printer");
    browser.no_sideways_scrolling();
    browser.picture("status");
    browser.dark(true);
    browser.picture("status-dark");
    browser.phone(true);
    browser.no_sideways_scrolling();
    browser.picture("status-phone-dark");
    browser.dark(false);
    browser.picture("status-phone");
    browser.window(1100, 800);
    let dnsd = told::roles(home.router())["dnsd"];
    home.host().ns.ok(["kill", "-9", &dnsd.pid.to_string()]);
    let restarts = format!("return {DNSD}.cells[2].innerText + ' ' + {DNSD}.cells[1].innerText");
    browser.wait_until("the page counts dnsd's restart", || {
        let text = browser.script(&restarts);
        let text = text.as_str().unwrap_or_default();
        text.starts_with("1 running") && text.contains("SIGKILL")
    });
    browser.picture("status-restarted");
    assert_eq!(
        browser.script("return window.neverReloaded === true"),
        json!(true),
        "the page was loaded again"
    );

    // Out, a wrong password, in again; what was done once cannot be done again.
    browser.click(".bar button");
    browser.wait_for("h1", "Log in");
    browser.picture("login");
    browser.keys("#password", &format!("seven brown bottles{ENTER}"));
    browser.wait_for(".alert", "The password is wrong");
    browser.picture("login-wrong");
    browser.open(&format!("{PAGE}setup"));
    browser.wait_for("h1", "Log in");
    log_in(&browser, PASSWORD);
    browser.open(&format!("{PAGE}setup"));
    assert_ne!(browser.text("h1"), "Welcome");
    browser.click(".bar button");

    // The same over TLS, by the way that the page itself shows.
    browser.wait_for(
        ".fingerprint",
        status["system"]["tls_sha256"].as_str().unwrap(),
    );
    browser.click("#encrypted a");
    is_led_to(&browser, "https://192.168.1.1/login");
    log_in(&browser, PASSWORD);
    is_led_to(&browser, "https://192.168.1.1/");
    browser.open("https://192.168.1.1/setup");
    assert_ne!(browser.text("h1"), "Welcome");
    browser.open(&format!("{PAGE}nothing"));
    browser.wait_for("h1", "no such page");

    browser.no_complaints(&[" 401 ", " 422 ", " 403 ", " 404 "]);
}

#[test]
fn a_page_from_elsewhere_cannot_change_the_router() {
    let home = Home::new(1);
    let host = &home.host().ns;
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    let form = browser.script("return document.querySelector('[name=form_token]').value");
    let form = form.as_str().unwrap();
    let dnsd = told::roles(home.router())["dnsd"];

    // A page beyond the provider, opened in the browser that is logged in. It even knows the
    // form's token, which it could not read.
    let elsewhere = format!("http://{}/", isp::WEB);
    until("the page elsewhere opens", PATIENCE, || {
        browser.open(&elsewhere);
        browser.script("return document.body.innerText") == json!(isp::PAGE.trim())
    });
    let fetched = browser.script(
        "return fetch('http://192.168.1.1/api/services/dnsd/restart', \
         {method: 'POST', mode: 'no-cors', credentials: 'include'}).then(a => a.type, e => 'blocked')",
    );
    assert!(
        ["opaque", "blocked"].map(|s| json!(s)).contains(&fetched),
        "{fetched}"
    );
    let read = browser.script(
        "return fetch('http://192.168.1.1/api/status', {credentials: 'include'}) \
         .then(a => a.text(), e => 'blocked')",
    );
    assert_eq!(read, json!("blocked"));
    for (path, body) in [("logout", ""), ("api/services/dnsd/restart", "")] {
        browser.open(&elsewhere);
        browser.script(&format!(
            "const f = document.createElement('form'); f.method = 'post'; \
             f.action = '{PAGE}{path}'; f.innerHTML = '<input name=form_token value=\"{form}\">{body}'; \
             document.body.append(f); f.submit()"
        ));
        browser.wait_for("body", "Another site's page");
    }

    // Nothing has happened: the session is alive and dnsd is the process it was.
    browser.open(PAGE);
    is_online(&browser);
    let after = told::roles(home.router())["dnsd"];
    assert_eq!((after.pid, after.restarts), (dnsd.pid, dnsd.restarts));

    // A name of somebody else's that leads here (DNS rebinding) is not served.
    let status = |name: &str| {
        let resolve = format!("{name}:80:192.168.1.1");
        let url = format!("http://{name}/");
        let mut args = vec!["curl", "-s", "-m", "5", "-o", "/dev/null"];
        args.extend(["-w", "%{http_code}", "--resolve", &resolve, &url]);
        host.ok(args)
    };
    assert_eq!(status("evil.example"), "421");
    assert_eq!(status("lintel.lan"), "303");
    let problem: Value = host.json([
        "curl",
        "-s",
        "-m",
        "5",
        "-H",
        "Host: evil.example",
        "http://192.168.1.1/api/status",
    ]);
    assert_eq!(problem["status"], 421);
}
