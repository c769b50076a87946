//! `firmware/docs/api.md` says what the table says.

use lintel_api::{Access, METHODS, Method, Place};

const DOCUMENT: &str = include_str!("../../docs/api.md");

#[test]
fn the_document_holds_every_row_as_it_is() {
    let wanted: Vec<String> = METHODS.iter().map(row).collect();
    let held: Vec<&str> = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(
        held,
        wanted,
        "put these rows into firmware/docs/api.md:\n{}\n",
        wanted.join("\n")
    );
}

fn row(method: &Method) -> String {
    let access = match method.access {
        Access::Open => "anyone",
        Access::Setup => "LAN, once",
        Access::Login if method.changes => "write",
        Access::Login => "read",
        Access::Token => "write, token",
        Access::Admin => "admin",
        Access::Person => "session",
        Access::Rescue => "admin*",
        Access::Diagnosis if method.changes => "write*",
        Access::Diagnosis => "read*",
    };
    let params: Vec<String> = method
        .params
        .iter()
        .filter(|param| param.place != Place::Path)
        .map(|param| {
            let must = if param.required { "" } else { "?" };
            format!("{}{must}", param.name)
        })
        .collect();
    format!(
        "| `{} {}` | `{}` | {access} | {} | {} |",
        method.verb.as_str(),
        method.path,
        method.name.replace('.', " "),
        params.join(" "),
        method.summary,
    )
}
