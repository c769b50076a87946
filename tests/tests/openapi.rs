//! The running router against its own OpenAPI document. The judge is schemathesis, which makes
//! requests of the document, right ones and wrong ones, and holds each answer to it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::path::Path;
use std::time::Duration;

use netns_tests::home::{BASE, Home, PATIENCE};
use netns_tests::until;

/// Of the whole run.
const RUN: Duration = Duration::from_secs(300);

/// Not asked: what ends the server that is judged, a part of it or the token it is asked with, what
/// is refused where no box is (503), and the stream that does not end. Other tests call them.
const LEFT_OUT: [&str; 6] = [
    "auth.rotate-key",
    "services.restart",
    "services.stop",
    "system.reboot",
    "system.poweroff",
    "events",
];

/// What must hold of each answer: no server error, nothing undocumented, no wrong request that
/// is taken, nothing without its right.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,negative_data_rejection,\
    allow_header_conformance,ignored_auth";

#[test]
fn every_answer_is_one_that_the_document_names() {
    // tests/setup.sh makes it.
    let judge = std::env::var("LINTEL_SCHEMATHESIS").unwrap_or_default();
    if !Path::new(&judge).exists() {
        return println!(
            "SKIPPED every_answer_is_one_that_the_document_names: no schemathesis (LINTEL_SCHEMATHESIS)"
        );
    }
    let home = Home::claimed(1);
    let (router, host, dir) = (home.router(), home.host(), &home.dir);
    // The judge tries small numbers: those of other tokens, so that it does not end its own.
    for n in 1..10 {
        router.cli_ok(&["auth", "tokens", "create", &format!("spare {n}"), "read"]);
    }
    let made = router.cli_json(&["auth", "tokens", "create", "fuzzer", "admin", "--days", "1"]);
    let token = made["token"].as_str().unwrap();

    // It keeps examples where it runs.
    let mut args = vec![
        "env".to_owned(),
        format!("--chdir={}", dir.path("").display()),
        judge.clone(),
        "run".to_owned(),
        format!("{BASE}/api/openapi.json"),
        format!("--header=Authorization: Bearer {token}"),
        format!("--checks={CHECKS}"),
        "--phases=examples,coverage,fuzzing".to_owned(),
        "--max-examples=20".to_owned(),
        "--seed=20261121".to_owned(),
        "--request-timeout=20".to_owned(),
        "--continue-on-failure".to_owned(),
        "--no-color".to_owned(),
        "--workers=1".to_owned(),
    ];
    args.extend(LEFT_OUT.map(|name| format!("--exclude-operation-id={name}")));
    let mut run = host.ns.spawn(&dir.path("schemathesis.log"), args);
    let status = run.wait(RUN);
    let said = run.printed();
    let tail: Vec<&str> = said.lines().rev().take(400).collect();
    for line in tail.iter().rev() {
        println!("{line}");
    }
    assert!(status.success(), "schemathesis found something");
    // Not one that judged nothing, nor one that was a stranger to the box from some call on.
    assert!(said.contains("passed"), "{said}");
    let audit = home.program(token).get("/api/audit").status;
    assert_eq!(audit, 200, "the token ended on the way");
    until("the box is as it was", PATIENCE, || {
        host.fetch(&format!("{BASE}/health")).is_some()
    });
}
