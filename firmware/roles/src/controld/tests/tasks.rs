//! Long work: its steps, bounds and end; what an export holds; that no secret leaves in a bundle.

use std::io::Read;

use data_encoding::BASE64;
use lintel_ipc::init::{LogFileStatus, LogLine, LogStatistics, ServiceStatus};
use lintel_ipc::wand::FromWand;
use lintel_model::probe::{
    Hop, PortReport, ProbeKind, ProbeNews, ProbeReport, ProbeSpec, ProbeState, TraceReport,
};
use serde_json::json;

use super::*;

fn line(seq: u64, role: RoleName, level: &str, text: &str) -> LogLine {
    LogLine {
        seq,
        uptime_ms: seq * 10,
        unix_ms: UNIX_S * 1_000 + seq,
        role,
        level: level.to_owned(),
        text: text.to_owned(),
    }
}

fn stored(line: &LogLine) -> String {
    let (s, ms) = (line.unix_ms / 1_000, line.unix_ms % 1_000);
    format!("{s}.{ms:03} {} {} {}\n", line.role, line.level, line.text)
}

/// init, as far as the log is concerned.
#[derive(Default)]
struct Log {
    memory: Vec<LogLine>,
    files: Vec<(String, String)>,
}

impl Log {
    fn reply(&self, request: &InitRequest) -> InitReply {
        match request {
            InitRequest::Logs { .. } => InitReply::Logs(self.memory.clone()),
            InitRequest::Services => InitReply::Services(Vec::<ServiceStatus>::new()),
            InitRequest::LogStatistics => InitReply::LogStatistics(LogStatistics {
                lines: self.memory.len() as u64,
                files: self
                    .files
                    .iter()
                    .map(|(name, text)| LogFileStatus {
                        name: name.clone(),
                        bytes: text.len() as u64,
                    })
                    .collect(),
                ..LogStatistics::default()
            }),
            InitRequest::LogFile { name, offset } => {
                let Some((_, text)) = self.files.iter().find(|(n, _)| n == name) else {
                    return InitReply::Failed("no such file".to_owned());
                };
                let at = usize::try_from(*offset).unwrap();
                // Parts that cut lines in two.
                let end = text.len().min(at + 100);
                InitReply::LogFile {
                    text: text[at..end].to_owned(),
                    next: (end < text.len()).then_some(end as u64),
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Bench {
    /// Lets work go on with this log behind it, until it ends.
    fn work(&mut self, id: u64, log: &Log) -> Value {
        self.init = false;
        for _ in 0..10_000 {
            self.pass_ms(3);
            self.serve(log);
            let task = self.local("tasks.show", json!({ "id": id })).unwrap();
            if task["state"] != "running" {
                self.init = true;
                return task;
            }
        }
        panic!("task {id} does not end");
    }

    fn serve(&mut self, log: &Log) {
        for (id, request) in std::mem::take(&mut self.unanswered) {
            let reply = log.reply(&request);
            self.input(Input::Init { id, reply });
        }
    }

    fn file(&mut self, id: u64) -> Vec<u8> {
        let file = self.local("tasks.result", json!({ "id": id })).unwrap();
        BASE64
            .decode(file["content_base64"].as_str().unwrap().as_bytes())
            .unwrap()
    }

    fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.init = false;
        self.local(method, params).unwrap()["task"]
            .as_u64()
            .unwrap()
    }
}

fn gunzip(file: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(file);
    reader.read_to_end(&mut octets).unwrap();
    octets
}

fn log() -> Log {
    let both = line(7, RoleName::Wand, "info", "in both");
    let old: Vec<LogLine> = (1..6)
        .map(|n| {
            line(
                n,
                RoleName::Netd,
                ["warn", "info"][n as usize % 2],
                &format!("old {n} ß"),
            )
        })
        .collect();
    Log {
        files: vec![
            (
                "log/lintel.log".to_owned(),
                stored(&both) + "no line of ours\n",
            ),
            (
                "log/lintel.log.1".to_owned(),
                old.iter()
                    .map(stored)
                    .collect::<String>()
                    .replace('ß', "ss"),
            ),
            (
                "crash/1-dnsd.txt".to_owned(),
                "dnsd ended: killed\n".to_owned(),
            ),
        ],
        memory: vec![both, line(8, RoleName::Dnsd, "error", "the Newest")],
    }
}

#[test]
fn an_export_holds_every_line_once_and_in_order() {
    let mut bench = Bench::settled();
    bench.events.clear();
    let id = bench.begin("logs.export", json!({}));
    let task = bench.work(id, &log());
    assert_eq!(task["state"], "done", "{task}");
    assert_eq!(task["done"], task["total"]);
    let name = task["result"]["file_name"].as_str().unwrap();
    assert!(
        name.starts_with("lintel-logs-") && name.ends_with(".jsonl.gz"),
        "{name}"
    );
    let text = String::from_utf8(gunzip(&bench.file(id))).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let texts: Vec<&str> = lines.iter().map(|l| l["text"].as_str().unwrap()).collect();
    assert_eq!(
        texts,
        [
            "old 1 ss",
            "old 2 ss",
            "old 3 ss",
            "old 4 ss",
            "old 5 ss",
            "in both",
            "the Newest"
        ]
    );
    // Only what is meant.
    let id = bench.begin("logs.export", json!({"level": "warn", "find": "NEW"}));
    bench.work(id, &log());
    let text = String::from_utf8(gunzip(&bench.file(id))).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    bench.pass_ms(1_000);
    let told = bench
        .events
        .iter()
        .filter(|e| e.data["type"] == "task.state");
    let states: Vec<&str> = told.map(|e| e.data["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["running", "done", "running", "done"]);
}

#[test]
fn a_search_finds_the_newest_first_and_pages_back() {
    let mut bench = Bench::settled();
    bench.init = false;
    let mut log = log();
    log.memory = (1..=50)
        .map(|n| {
            line(
                n,
                RoleName::Dnsd,
                ["warn", "debug"][n as usize % 2],
                &format!("Line {n}"),
            )
        })
        .collect();
    let mut search = |params: Value| {
        let id = bench.send(Via::Control(1), "logs.search", params, Caller::default());
        bench.serve(&log);
        bench.reply(id).result.clone()
    };
    let found = search(json!({"find": "line 4", "limit": 3})).unwrap();
    let texts = |found: &Value| -> Vec<String> {
        let items = found["items"].as_array().unwrap().iter();
        items
            .map(|item| item["text"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(texts(&found), ["Line 49", "Line 48", "Line 47"]);
    assert_eq!(found["searched"], 50);
    let next = found["next"].clone();
    let more = search(json!({"find": "line 4", "limit": 3, "cursor": next})).unwrap();
    assert_eq!(texts(&more), ["Line 46", "Line 45", "Line 44"]);
    let warn = search(json!({"find": "line 4", "level": "warn"})).unwrap();
    assert_eq!(texts(&warn).len(), 6);
    assert_eq!(texts(&search(json!({"name": "netd"})).unwrap()).len(), 0);
    for wrong in [
        json!({"find": "x".repeat(201)}),
        json!({"level": "loud"}),
        json!({"name": "nobody"}),
        json!({"cursor": "x"}),
        json!({"regex": "x"}),
    ] {
        assert_eq!(search(wrong.clone()).unwrap_err().status, 422, "{wrong}");
    }
}

#[test]
fn work_is_ended_on_request_and_bounded_in_number_and_time() {
    let mut bench = Bench::settled();
    bench.init = false;
    let first = bench.begin("support.collect", json!({}));
    let second = bench.begin("logs.export", json!({}));
    let full = bench.local("logs.export", json!({})).unwrap_err();
    assert_eq!((full.status, full.kind.as_str()), (409, "tasks-running"));
    let none = bench
        .local("tasks.result", json!({ "id": second }))
        .unwrap_err();
    assert_eq!(none.kind, "task-running");
    let ended = bench.local("tasks.cancel", json!({ "id": first })).unwrap();
    assert_eq!(ended["state"], "cancelled");
    // What it had asked for comes too late, and wakes nobody.
    bench.pass_ms(100);
    bench.serve(&Log::default());
    bench.pass_ms(100);
    let shown = bench.local("tasks.show", json!({ "id": first })).unwrap();
    assert_eq!(shown["state"], "cancelled");
    // An answer that never comes ends it, by the bound of init's answers.
    let third = bench.begin("logs.export", json!({}));
    bench.pass_ms(10_000);
    bench.unanswered.clear();
    let shown = bench.local("tasks.show", json!({ "id": third })).unwrap();
    assert_eq!(shown["state"], "failed", "{shown}");
    for _ in 0..40 {
        let id = bench.begin("logs.export", json!({}));
        bench.local("tasks.cancel", json!({ "id": id })).unwrap();
    }
    let list = bench.local("tasks.list", json!({})).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 16);
    let gone = bench.local("tasks.show", json!({ "id": 1 })).unwrap_err();
    assert_eq!(gone.status, 404);
}

#[test]
fn a_file_is_forgotten_in_time_and_on_request() {
    let mut bench = Bench::settled();
    let first = bench.begin("logs.export", json!({}));
    bench.work(first, &log());
    let second = bench.begin("logs.export", json!({}));
    bench.work(second, &log());
    assert!(!bench.file(first).is_empty());
    bench.local("tasks.cancel", json!({ "id": first })).unwrap();
    let gone = bench
        .local("tasks.result", json!({ "id": first }))
        .unwrap_err();
    assert_eq!((gone.status, gone.kind.as_str()), (404, "no-result"));
    assert!(!bench.file(second).is_empty());
    bench.pass_ms(601_000);
    assert!(
        bench
            .local("tasks.result", json!({ "id": second }))
            .is_err()
    );
}

#[test]
fn a_bundle_holds_what_helps_and_no_secret() {
    let mut bench = Bench::settled();
    bench.init = true;
    let mut planted = vec!["planted-password-1".to_owned()];
    bench
        .local("auth.setup", json!({"password": planted[0]}))
        .unwrap();
    let session = bench.web("auth.login", json!({"password": planted[0]}), None);
    let session = session.set_session.unwrap();
    let token = json!({"name": "reader", "scope": "read"});
    let token = bench
        .web("auth.tokens.create", token, Some(&session))
        .result
        .unwrap();
    planted.push(token["token"].as_str().unwrap().to_owned());
    let totp = bench.core.known_secrets();
    planted.extend(totp);
    planted.push(session);
    bench
        .apply("# planted-comment-2\n[system]\nhostname = \"attic\"\n")
        .unwrap();
    let reason = json!({"toml": "[system]\nhostname = \"loft\"\n", "reason": "planted-reason-3"});
    bench.local("config.apply", reason).unwrap();
    bench.pass_ms(1_000);

    let mut log = log();
    // A text that a later change might let into the log: what is known goes there too.
    let hash = bench.core.known_secrets().remove(0);
    log.memory
        .push(line(9, RoleName::Webd, "warn", &format!("oops {hash}")));
    let id = bench.begin("support.collect", json!({}));
    let task = bench.work(id, &log);
    assert_eq!(task["state"], "done", "{task}");
    let octets = gunzip(&bench.file(id));
    let mut names = Vec::new();
    for entry in tar::Archive::new(octets.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        if name.ends_with(".json") {
            serde_json::from_str::<Value>(&text).unwrap();
        }
        names.push(name.trim_start_matches("lintel-support/").to_owned());
    }
    for name in [
        "README.txt",
        "config.toml",
        "status.json",
        "plan/desired.json",
        "events.json",
        "metrics.txt",
        "system-stats.json",
        "logs/memory.jsonl",
        "logs/log/lintel.log.1",
        "logs/crash/1-dnsd.txt",
    ] {
        assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
    }
    let all = String::from_utf8_lossy(&octets);
    assert!(all.contains("loft") && all.contains("the Newest"));
    for secret in planted.iter().map(String::as_str).chain(["planted"]) {
        assert!(!all.contains(secret), "{secret}");
    }
    assert!(all.contains("oops (removed)"));
}

/// A test of the network begins; what wand is asked for.
fn probe(bench: &mut Bench, params: Value) -> (u64, u64, ProbeSpec) {
    bench.wan.clear();
    let begun = bench.local("network.test", params).unwrap();
    bench.pass_ms(10);
    match bench.wan.last() {
        Some(ToWand::Probe { id, spec }) => (begun["task"].as_u64().unwrap(), *id, spec.clone()),
        other => panic!("{other:?}"),
    }
}

fn news(state: ProbeState, report: Option<ProbeReport>) -> Box<ProbeNews> {
    Box::new(ProbeNews {
        done: 1,
        total: 2,
        text: "It is\u{7} tested.".to_owned(),
        report,
        state,
    })
}

fn port(state: &str) -> ProbeReport {
    ProbeReport::Port(PortReport {
        address: [192, 0, 2, 1].into(),
        port: 80,
        state: state.to_owned(),
        took_us: 7,
    })
}

#[test]
fn a_test_of_the_network_is_wands_and_its_report_is_the_tasks() {
    let mut bench = Bench::settled();
    let params = json!({ "kind": "port", "target": "printer", "port": 80 });
    let (task, id, spec) = probe(&mut bench, params.clone());
    assert_eq!(spec.target, "printer.lan", "the household's own name");
    assert_eq!(spec.kind, ProbeKind::Port { port: 80 });
    assert_eq!(spec.resolver, "127.0.0.1:53".parse().unwrap());
    let second = bench.local("network.test", params.clone()).unwrap_err();
    assert_eq!((second.status, second.kind.as_str()), (409, "test-running"));
    let wand = |id, news| Input::Wand(FromWand::Probe { id, news });
    bench.input(wand(id + 1, news(ProbeState::Done, Some(port("open")))));
    bench.input(wand(id, news(ProbeState::Running, None)));
    let shown = bench.local("tasks.show", json!({ "id": task })).unwrap();
    assert_eq!(
        (&shown["state"], &shown["text"]),
        (&json!("running"), &json!("It is tested."))
    );
    bench.input(wand(id, news(ProbeState::Done, Some(port("open\n")))));
    let shown = bench.local("tasks.show", json!({ "id": task })).unwrap();
    assert_eq!(
        (&shown["state"], &shown["report"]["state"]),
        (&json!("done"), &json!("open"))
    );

    // It ends with wand, and when somebody ends it wand is told.
    let (task, ..) = probe(&mut bench, params.clone());
    bench.input(Input::SessionEnded(RoleName::Wand));
    let shown = bench.local("tasks.show", json!({ "id": task })).unwrap();
    assert_eq!(shown["state"], "failed");
    let away = bench.local("network.test", params.clone()).unwrap_err();
    assert_eq!(away.kind, "role-away");
    bench.input(Input::Session(RoleName::Wand));
    let (task, id, _) = probe(&mut bench, params);
    bench.local("tasks.cancel", json!({ "id": task })).unwrap();
    assert!(matches!(bench.wan.last(), Some(ToWand::EndProbe { id: ended }) if *ended == id));
    bench.input(wand(id, news(ProbeState::Done, Some(port("open")))));
    let shown = bench.local("tasks.show", json!({ "id": task })).unwrap();
    assert_eq!(shown["state"], "cancelled");
}

#[test]
fn wand_is_believed_no_more_than_a_test_can_tell() {
    let mut bench = Bench::settled();
    let (task, id, _) = probe(
        &mut bench,
        json!({ "kind": "traceroute", "target": "192.0.2.1" }),
    );
    let hop = Hop {
        ttl: 1,
        address: None,
        rtt_us: vec![1; 1_000],
        error: Some("e".repeat(10_000)),
    };
    let report = ProbeReport::Traceroute(TraceReport {
        address: [192, 0, 2, 1].into(),
        reached: true,
        hops: vec![hop; 1_000],
    });
    let told = news(ProbeState::Done, Some(report));
    bench.input(Input::Wand(FromWand::Probe { id, news: told }));
    let shown = bench.local("tasks.show", json!({ "id": task })).unwrap();
    assert!(shown.to_string().len() < 30_000);
    assert_eq!(shown["state"], "done");
}
