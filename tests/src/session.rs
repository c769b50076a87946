//! Somebody's session with the box, by curl on a host of the household, as a browser would send it.

use serde_json::Value;

use crate::client::Host;
use crate::namespace::Workdir;

/// A jar of cookies.
#[derive(Debug)]
pub struct Session(Workdir);

/// What came over HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The status line and the fields, in small letters.
    pub head: String,
    /// What followed.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

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
        let (jar, max_s) = (self.0.path("cookies"), max_s.to_string());
        let jar = jar.to_str().expect("UTF-8");
        let curl = ["curl", "-sS", "-i", "-m", &max_s, "-b", jar, "-c", jar];
        let output = host.ns.run(curl.iter().chain(more));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer = text.split_once("\r\n\r\n").and_then(|(head, body)| {
            Some(Answer {
                status: head.split(' ').nth(1)?.parse().ok()?,
                head: head.to_ascii_lowercase(),
                body: body.to_owned(),
            })
        });
        let stderr = String::from_utf8_lossy(&output.stderr);
        answer.ok_or_else(|| format!("{stderr}{text}"))
    }

    /// The jar as curl keeps it.
    pub fn cookies(&self) -> String {
        std::fs::read_to_string(self.0.path("cookies")).unwrap_or_default()
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
        let json = "Content-Type: application/json";
        let mut args = vec!["-X", verb, "-H", &origin];
        if verb != "GET" {
            args.extend(["-H", json, "--data", &body]);
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
