//! What was changed, and the ways back.

use netns_tests::browser::ENTER;
use netns_tests::home::{Home, PASSWORD};
use netns_tests::pages::{PAGE, owner, write};
use netns_tests::street::CONFIG;
use serde_json::json;

use super::FOLDER;

#[test]
fn changes_are_looked_at_undone_and_restored_on_the_pages() {
    let home = Home::new(1);
    let Some(browser) = owner(home.host(), FOLDER, PASSWORD) else {
        return;
    };
    let config = || home.router().cli_json(&["config", "show"])["config"].clone();
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
    browser.pictures("history");

    // One change of two is undone, and the later one stays.
    browser.open(&format!("{PAGE}history/diff?to=2"));
    browser.wait_for(".changes", "dhcp.lease_s");
    browser.wait_for("h1", "What revision 2 changed");
    browser.pictures("diff");
    browser.click(".changes a");
    browser.wait_for("h1", "Undo what revision 2 did to dhcp.lease_s");
    browser.wait_for("#preview", "dhcp.lease_s");
    browser.pictures("undo");
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
    browser.no_complaints(&[" 409 "]);
}
