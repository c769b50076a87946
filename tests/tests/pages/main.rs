//! What an owner does on the pages, in Chromium on a host of the household.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use netns_tests::browser::Browser;
use netns_tests::street::CONFIG;

mod care;
mod history;
mod moves;
mod settings;
mod visit;

const NEW_PAGE: &str = "http://10.9.8.1/";
/// Pictures go below it.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// A configuration that moves the household there.
fn moved() -> String {
    format!("[lan]\naddress = \"10.9.8.1/24\"\n{CONFIG}")
}

fn open_settings(browser: &Browser<'_>, page: &str) {
    browser.open(&format!("{page}config"));
    browser.wait_for("main h1", "Settings");
}

/// Waits until no page says any more that something waits to be confirmed.
fn banner_is_gone(browser: &Browser<'_>) {
    browser.wait_until("the banner is gone", || browser.text("#pending").is_empty());
}
