//! What people do again and again on the box's pages.

use std::path::Path;

use serde_json::json;

use crate::browser::{Browser, ENTER};
use crate::client::Host;

/// Where the box's pages begin.
pub const PAGE: &str = "http://192.168.1.1/";
/// Its headline, once the box works.
const HEADLINE: &str = ".headline .title";

/// A browser on a host of the household; `None` where there is none. Its pictures go below the
/// folder.
pub fn visitor<'h>(host: &'h Host, folder: &str) -> Option<Browser<'h>> {
    let browser = Browser::start(Some(&host.ns), Path::new(folder))?;
    browser.window(1100, 800);
    Some(browser)
}

/// The same, whose owner has claimed the box by its first page and sees that all is well.
pub fn owner<'h>(host: &'h Host, folder: &str, password: &str) -> Option<Browser<'h>> {
    let browser = visitor(host, folder)?;
    browser.open(PAGE);
    choose(&browser, password);
    browser.wait_for("h1", "How the internet comes");
    browser.open(PAGE);
    is_online(&browser);
    Some(browser)
}

/// Types a new password twice and sends it.
pub fn choose(browser: &Browser<'_>, password: &str) {
    browser.keys("#password", password);
    browser.keys("#again", &format!("{password}{ENTER}"));
}

/// Logs in on the page of the login, which leads to the status.
pub fn log_in(browser: &Browser<'_>, password: &str) {
    browser.keys("#password", &format!("{password}{ENTER}"));
    is_online(browser);
}

/// Waits until the status page says so.
pub fn is_online(browser: &Browser<'_>) {
    browser.wait_for(HEADLINE, "Online");
}

/// Waits until the page led itself there.
pub fn is_led_to(browser: &Browser<'_>, url: &str) {
    browser.wait_until(&format!("the page leads to {url}"), || {
        browser.script("return location.href") == json!(url)
    });
}

/// Writes a configuration into its editor, as a person would paste it.
pub fn write(browser: &Browser<'_>, toml: &str) {
    browser.script(&format!(
        "const e = document.querySelector('#toml'); e.value = {}; \
         e.dispatchEvent(new Event('input', {{bubbles: true}}))",
        json!(toml)
    ));
}
