//! Somebody's session with the box, by curl on a host of the household, as a browser would send it.

use std::path::PathBuf;

use serde_json::Value;

use crate::caller::{Answer, JSON, curl};
use crate::client::Host;
use crate::namespace::Workdir;

/// A jar of cookies.
#[derive(Debug)]
pub struct Session(Workdir);

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// Nobody's yet.
    pub fn new() -> Self {
        Self(Workdir::new("session"))
    }

    /// A request with these more arguments of curl, of which the last is the URL.
    ///
    /// # Errors
    /// What curl says when no answer came back within `max_s` seconds.
    pub fn curl(&self, host: &Host, max_s: u32, more: &[&str]) -> Result<Answer, String> {
        let jar = self.jar();
        let jar = jar.to_str().expect("UTF-8");
        curl(host, max_s, &[&["-b", jar, "-c", jar], more].concat())
    }

    /// The file that curl keeps.
    pub fn jar(&self) -> PathBuf {
        self.0.path("cookies")
    }

    /// What stands in it.
    pub fn cookies(&self) -> String {
        std::fs::read_to_string(self.jar()).unwrap_or_default()
    }

    /// Another's jar, as somebody who stole it would use it.
    pub fn set_cookies(&self, jar: &str) {
        self.0.write("cookies", jar);
    }

    /// As the page at this address of the box would.
    ///
    /// # Errors
    /// As `curl`.
    pub fn ask(
        &self,
        host: &Host,
        max_s: u32,
        verb: &str,
        url: &str,
        body: &Value,
    ) -> Result<Answer, String> {
        let origin = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let (origin, body) = (format!("Origin: {origin}"), body.to_string());
        let mut args = vec!["-X", verb, "-H", &origin];
        if verb != "GET" {
            args.extend(["-H", JSON, "--data", &body]);
        }
        args.push(url);
        self.curl(host, max_s, &args)
    }

    /// The same; an answer must come.
    pub fn send(&self, host: &Host, verb: &str, url: &str, body: &Value) -> Answer {
        self.ask(host, 20, verb, url, body)
            .unwrap_or_else(|error| panic!("{verb} {url}: {error}"))
    }
}
