//! What the roles of a running box weigh, as the box itself says over its API.

use netns_tests::client::Host;
use serde_json::Value;

use crate::street::Street;

/// The box's own address on its LAN, as the factory sets it.
pub const BOX: &str = "192.168.1.1";
const PASSWORD: &str = "a measured pass phrase";

/// One role's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleMemory {
    /// The role.
    pub name: String,
    /// Its proportional share.
    pub pss_kib: u64,
}

/// Claims the box like its first visitor and asks for the state of its roles.
pub fn of_roles(street: &Street, host: &Host) -> Vec<RoleMemory> {
    let jar = street.dir.path("cookies");
    let jar = jar.to_str().expect("UTF-8");
    let body = serde_json::json!({ "password": PASSWORD }).to_string();
    let url = |path: &str| format!("http://{BOX}{path}");
    let setup = url("/api/auth/setup");
    let origin = format!("Origin: http://{BOX}");
    host.ns.ok([
        "curl",
        "-sS",
        "--fail-with-body",
        "-m",
        "10",
        "-c",
        jar,
        "-H",
        &origin,
        "-H",
        "Content-Type: application/json",
        "-d",
        &body,
        &setup,
    ]);
    let status = url("/api/services/status");
    let answer = host.ns.json([
        "curl",
        "-sS",
        "--fail-with-body",
        "-m",
        "10",
        "-b",
        jar,
        &status,
    ]);
    let services = match &answer {
        Value::Array(services) => services.clone(),
        Value::Object(fields) => fields
            .values()
            .find_map(Value::as_array)
            .cloned()
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    assert!(!services.is_empty(), "no roles in {answer}");
    services
        .iter()
        .map(|service| RoleMemory {
            name: service["name"].as_str().unwrap_or("?").to_owned(),
            pss_kib: service["pss_kib"].as_u64().unwrap_or_default(),
        })
        .collect()
}
