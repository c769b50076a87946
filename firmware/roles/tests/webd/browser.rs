//! The first visit, the login and the status page in Chromium, with the states that a running
//! box seldom shows. Pictures of each page are left in the target directory for people to look
//! at.

use std::path::Path;

use lintel_model::facts::{DataState, Notice, NoticeCode, Severity};
use netns_tests::browser::Browser;
use netns_tests::pages::{choose, log_in};
use serde_json::json;

use crate::house::House;

fn browser() -> Option<Browser<'static>> {
    Browser::start(None, Path::new(env!("CARGO_TARGET_TMPDIR")))
}

#[test]
fn a_person_claims_the_box_and_watches_it() {
    let house = House::new();
    let Some(browser) = browser() else {
        return;
    };
    browser.window(1180, 900);
    browser.open(&house.url("/"));
    assert!(browser.text("h1").contains("Welcome"));
    browser.picture("staged-setup");

    // A slip first, by keyboard alone: the field has the focus already.
    browser.keys("#password", "correct horse");
    browser.keys("#again", "correct house\u{e007}");
    browser.wait_for(".alert", "differ");
    choose(&browser, "correct horse");
    browser.wait_for("h1", "How the internet comes");
    browser.open(&house.url("/"));
    browser.wait_for(".headline .title", "Online");
    assert_eq!(browser.text("tbody tr:first-child th"), "living-room-tv");
    browser.picture("staged-status");
    browser.no_sideways_scrolling();

    // The page updates itself when the box says that something happened.
    let before = house.knowledge.lock().unwrap().status.clone();
    house.know(|known| {
        let wan = &mut known.status.wan;
        wan.online = false;
        wan.text =
            "The provider's server has not answered for two minutes. Check the modem.".to_owned();
        wan.state = Some("selecting".to_owned());
        wan.lease = None;
        known.status.services[3].state = "backing-off".to_owned();
        known.status.notices.insert(
            0,
            Notice {
                code: NoticeCode::WanOverlapsLan,
                severity: Severity::Warning,
                text: "The provider uses 192.168.1.0/24 as well. Change the home network to \
                       192.168.77.0/24 under [lan]."
                    .to_owned(),
                link: None,
            },
        );
    });
    house.event(1, "wan", json!({}));
    browser.wait_for(".headline .title", "Not online");
    browser.picture("staged-status-offline");
    browser.dark(true);
    browser.picture("staged-status-offline-dark");
    house.know(|known| known.status = before);
    house.event(2, "wan", json!({}));
    browser.wait_for(".headline .title", "Online");
    browser.picture("staged-status-dark");
    browser.phone(true);
    browser.no_sideways_scrolling();
    browser.picture("staged-status-phone-dark");
    browser.dark(false);
    browser.picture("staged-status-phone");
    browser.phone(false);

    // Away and back again.
    house.lose_session();
    browser.script("document.dispatchEvent(new Event('visibilitychange'))");
    browser.wait_for("#lost", "does not answer");
    house.new_session();
    browser.wait_until("the page noticed that the box is back", || {
        browser.script("document.dispatchEvent(new Event('visibilitychange'))");
        browser.script("return document.getElementById('lost').hidden") == json!(true)
    });

    browser.click(".bar button");
    browser.wait_for("h1", "Log in");
    browser.keys("#password", "wrong\u{e007}");
    browser.wait_for(".alert", "password is wrong");
    browser.picture("staged-login");
    log_in(&browser, "correct horse");
    // The refused password and the time without controld belong to the test.
    let expected = |line: &String| [" 401 ", " 422 ", " 503 "].iter().any(|s| line.contains(s));
    let mut complaints = browser.complaints();
    complaints.retain(|line| !expected(line));
    assert!(
        complaints.is_empty(),
        "the browser complains: {complaints:?}"
    );
}

#[test]
fn failed_storage_and_errors_have_pages() {
    let house = House::new();
    let Some(browser) = browser() else {
        return;
    };
    browser.window(1180, 900);
    house.know(|known| {
        known.data = DataState::Failed {
            reason: "The data partition holds no file system that this box can read.".to_owned(),
        }
    });
    browser.open(&house.url("/"));
    browser.wait_for("h1", "cannot use its storage");
    browser.click("summary");
    browser.picture("staged-failed");
    browser.phone(true);
    browser.no_sideways_scrolling();
    browser.phone(false);
    browser.keys("#confirm", "erase everything\u{e007}");
    browser.wait_for("h1", "made anew");
    browser.open(&house.url("/nothing"));
    browser.wait_for("h1", "no such page");
    browser.picture("staged-error");
}
