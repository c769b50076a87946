//! Makes the OpenAPI document from the table, and holds the one in the tree to it.
//!
//! Everything here is test code: the box serves the finished text and carries no generator.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use lintel_api::types::*;
use lintel_api::{Access, METHODS, Method, MethodId, OPENAPI, Param, ParamKind, Place, Verb};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

#[test]
fn the_document_in_the_tree_is_made_of_the_table() {
    let wanted = write(&document());
    if std::env::var_os("LINTEL_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        #[expect(
            clippy::disallowed_methods,
            reason = "a chore of developers, as a test"
        )]
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    let same = OPENAPI == wanted;
    let line = OPENAPI
        .lines()
        .zip(wanted.lines())
        .find(|(held, wanted)| held != wanted);
    assert!(
        same,
        "openapi.json is not that of the table; make it anew with \
         LINTEL_BLESS=1 cargo test -p lintel-api\nfirst difference: {line:#?}"
    );
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    let pointer = to.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{to}");
                }
                open.extend(map.values());
            }
            Value::Array(list) => open.extend(list),
            _ => {}
        }
    }
}

/// The type of what a method answers.
fn result(id: MethodId, of: &mut SchemaGenerator) -> Schema {
    fn ask<T: JsonSchema>(of: &mut SchemaGenerator) -> Schema {
        of.subschema_for::<T>()
    }
    match id {
        MethodId::Health => ask::<Health>(of),
        MethodId::Status => ask::<Status>(of),
        MethodId::SystemInfo => ask::<SystemInfo>(of),
        MethodId::SystemStats => ask::<SystemStats>(of),
        MethodId::Metrics => ask::<String>(of),
        MethodId::SystemTimeShow | MethodId::SystemTimeSet => ask::<TimeStatus>(of),
        MethodId::SystemReboot
        | MethodId::SystemPoweroff
        | MethodId::SystemDataReset
        | MethodId::ServicesRestart
        | MethodId::ServicesStart
        | MethodId::ServicesStop
        | MethodId::DhcpLeasesDelete
        | MethodId::DnsFlush
        | MethodId::AuthSetup
        | MethodId::AuthLogin
        | MethodId::AuthLogout
        | MethodId::ConfigConfirm
        | MethodId::AuthPasswordChange
        | MethodId::AuthSessionsEnd
        | MethodId::AuthTokensDelete => ask::<Done>(of),
        MethodId::AuthSessionsList => ask::<Page<SessionInfo>>(of),
        MethodId::AuthTokensList => ask::<Page<TokenInfo>>(of),
        MethodId::AuthTokensCreate | MethodId::AuthRotateKey => ask::<TokenCreated>(of),
        MethodId::AuthRefresh => ask::<SessionRefreshed>(of),
        MethodId::AuthTotp => ask::<TotpState>(of),
        MethodId::AuthUsersList => ask::<Page<UserInfo>>(of),
        MethodId::AuditList => ask::<Page<AuditEntry>>(of),
        MethodId::ServicesStatus => ask::<Vec<Service>>(of),
        MethodId::LogsSearch => ask::<LogsFound>(of),
        MethodId::LogsStatistics => ask::<LogStats>(of),
        MethodId::LogsExport | MethodId::SupportCollect | MethodId::NetworkTest => {
            ask::<TaskBegun>(of)
        }
        MethodId::LogsRotate => ask::<Done>(of),
        MethodId::TasksList => ask::<Vec<Task>>(of),
        MethodId::TasksShow | MethodId::TasksCancel => ask::<Task>(of),
        MethodId::TasksResult => Schema::try_from(json!({
            "type": "string", "format": "binary",
        }))
        .unwrap(),
        MethodId::ServicesConnectivity => ask::<Vec<SelfTest>>(of),
        MethodId::ServicesBusStatus => ask::<BusStatus>(of),
        MethodId::ServicesBusEvents => ask::<Page<EventEntry>>(of),
        MethodId::NetworkInfo => ask::<NetworkInfo>(of),
        MethodId::NetworkInterfaces => ask::<Vec<Interface>>(of),
        MethodId::ConfigShow => ask::<ConfigShown>(of),
        MethodId::ConfigExport => ask::<ConfigExported>(of),
        MethodId::ConfigImport | MethodId::ConfigBackup => ask::<BackupInfo>(of),
        MethodId::ConfigBackups => ask::<Page<BackupInfo>>(of),
        MethodId::ConfigApply
        | MethodId::ConfigPatch
        | MethodId::ConfigPlan
        | MethodId::ConfigRestore
        | MethodId::ConfigCommit
        | MethodId::ConfigRollback
        | MethodId::DhcpReservationsAdd
        | MethodId::DhcpReservationsDelete
        | MethodId::DnsRecordsAdd
        | MethodId::DnsRecordsDelete => ask::<ConfigApplied>(of),
        MethodId::DhcpReservationsList => ask::<Page<ReservationInfo>>(of),
        MethodId::ConfigRevisionsShow => ask::<ConfigShown>(of),
        MethodId::ConfigDiff => ask::<ConfigDiff>(of),
        MethodId::ConfigValidate => ask::<ConfigValid>(of),
        MethodId::ConfigRevisions => ask::<Page<RevisionInfo>>(of),
        MethodId::DhcpLeasesList => ask::<Page<Lease>>(of),
        MethodId::DnsRecordsList => ask::<Page<DnsRecord>>(of),
        MethodId::DnsStatistics => ask::<lintel_model::resolver::DnsCounters>(of),
        MethodId::NtpStatus => ask::<lintel_model::clock::ClockReport>(of),
        MethodId::NtpSources => ask::<Vec<lintel_model::clock::TimeSource>>(of),
        MethodId::LogsServices => ask::<Vec<LogEntry>>(of),
        MethodId::AuthStatus => ask::<AuthStatus>(of),
        MethodId::ConfigSchema | MethodId::Openapi => ask::<Map<String, Value>>(of),
    }
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for method in METHODS {
        let operation = operation(method, &mut schemas);
        let path = paths.entry(method.path).or_insert_with(|| json!({}));
        path[method.verb.as_str().to_lowercase()] = operation;
    }
    paths.insert("/api/events".to_owned(), json!({ "get": events() }));
    let mut components = schemas.take_definitions(true);
    components.insert("Problem".to_owned(), problem());
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lintel",
            "version": "1",
            "summary": "A home router's own interface",
            "description": "Every answer that is no success is a problem document (RFC 9457).",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The box that served this" }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "securitySchemes": security_schemes(),
            "responses": refusals(),
            "schemas": components,
        },
    });
    flatten_tuples(&mut document);
    document
}

/// A pair is told as a list of two that holds either kind: few readers of today know
/// `prefixItems`, and some stumble over it.
fn flatten_tuples(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(kinds) = map.remove("prefixItems") {
                map.insert("items".to_owned(), json!({ "anyOf": kinds }));
            }
            map.values_mut().for_each(flatten_tuples);
        }
        Value::Array(list) => list.iter_mut().for_each(flatten_tuples),
        _ => {}
    }
}

fn operation(method: &Method, schemas: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    responses.insert("200".to_owned(), success(method, schemas));
    for status in method.refusals() {
        let to = format!("#/components/responses/{status}");
        responses.insert(status.to_string(), json!({ "$ref": to }));
    }
    let mut operation = json!({
        "operationId": method.name,
        "summary": method.summary,
        "description": who(method),
        "tags": [method.name.split('.').next()],
        "security": security(method),
        "responses": responses,
    });
    let outside = method.params.iter().filter(|p| p.place != Place::Body);
    let parameters: Vec<Value> = outside.map(parameter).collect();
    if !parameters.is_empty() {
        operation["parameters"] = Value::from(parameters);
    }
    if method.verb != Verb::Get {
        operation["requestBody"] = body(method);
    }
    operation
}

fn success(method: &Method, schemas: &mut SchemaGenerator) -> Value {
    let mut success = json!({ "description": "Done" });
    let schema = json!({ "schema": result(method.id, schemas) });
    // The name of a media type stands without its parameters, so that every one of them fits.
    let media_type = method.content().media_type().split(';').next().unwrap();
    success["content"] = json!({ media_type: schema });
    let session = [
        MethodId::AuthPasswordChange,
        MethodId::AuthRefresh,
        MethodId::AuthSetup,
        MethodId::AuthLogin,
        MethodId::AuthLogout,
    ];
    if session.contains(&method.id) {
        success["headers"] = json!({ "Set-Cookie": {
            "description": "The session begins or ends",
            "schema": { "type": "string" },
        }});
    }
    if method.id == MethodId::ConfigShow {
        success["headers"] = json!({ "ETag": {
            "description": "Names the revision, for If-Match",
            "schema": { "type": "string" },
        }});
    }
    success
}

fn parameter(param: &Param) -> Value {
    let place = match param.place {
        Place::Path => "path",
        Place::Query | Place::Body => "query",
        Place::Header => "header",
    };
    let name = match param.place {
        Place::Header => param.field_name(),
        _ => param.name.to_owned(),
    };
    json!({
        "name": name,
        "in": place,
        "required": param.required,
        "description": param.summary,
        "schema": kind(param.kind, true),
    })
}

/// What stands in the query may stand in the body as well.
fn body(method: &Method) -> Value {
    let inside = || {
        method
            .params
            .iter()
            .filter(|p| matches!(p.place, Place::Query | Place::Body))
    };
    let properties: Map<String, Value> = inside()
        .map(|param| {
            let mut schema = kind(param.kind, false);
            if !param.required {
                schema["type"] = json!([schema["type"], "null"]);
                if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
                    words.push(Value::Null);
                }
            }
            schema["description"] = Value::from(param.summary);
            (param.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = inside().filter(|p| p.required).map(|p| p.name).collect();
    let must = !required.is_empty();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if must {
        schema["required"] = json!(required);
    }
    let mut content = json!({ "application/json": { "schema": schema } });
    if method.verb == Verb::Patch {
        content["application/merge-patch+json"] = json!({ "schema": { "type": "object" } });
    }
    if method.param("toml").is_some() {
        content["application/toml"] = json!({ "schema": {
            "type": "string",
            "description": "The configuration file as it is",
        }});
    }
    json!({ "required": must, "content": content })
}

/// `text`: as it is written in a path or a query.
fn kind(kind: ParamKind, text: bool) -> Value {
    match kind {
        ParamKind::Text => json!({ "type": "string" }),
        ParamKind::Number => json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
        ParamKind::Count(max) => json!({ "type": "integer", "minimum": 1, "maximum": max }),
        ParamKind::OneOf(words) => json!({ "type": "string", "enum": words }),
        ParamKind::Flag if text => json!({ "enum": [true, false, "1", "0", "yes", "no", ""] }),
        ParamKind::Flag => json!({ "type": "boolean" }),
        ParamKind::Ipv4 => json!({ "type": "string", "format": "ipv4" }),
        ParamKind::Object => json!({ "type": "object" }),
    }
}

fn who(method: &Method) -> String {
    let scope = method.scope().map_or("", |scope| scope.as_str());
    match method.access {
        Access::Open => "Anyone who reaches the box may call this.".to_owned(),
        Access::Setup => "Only from the household's network, and once.".to_owned(),
        Access::Person => "Needs a session; no API token does.".to_owned(),
        Access::Token => format!(
            "Needs a session, an API token of scope {scope}, or the token that an answer of the \
             box gave for it."
        ),
        Access::Login | Access::Admin => {
            format!("Needs a session, or an API token of scope {scope}.")
        }
        Access::Diagnosis | Access::Rescue => format!(
            "Needs a session, or an API token of scope {scope}; while the box's storage has \
             failed, anyone in the household's network may call this."
        ),
    }
}

fn security(method: &Method) -> Value {
    match method.access {
        Access::Open | Access::Setup => json!([]),
        Access::Login | Access::Admin | Access::Person => {
            json!([{ "bearer": [] }, { "cookie": [] }, { "cookie_tls": [] }])
        }
        Access::Diagnosis | Access::Rescue | Access::Token => {
            json!([{ "bearer": [] }, { "cookie": [] }, { "cookie_tls": [] }, {}])
        }
    }
}

fn security_schemes() -> Value {
    json!({
        "bearer": { "type": "http", "scheme": "bearer" },
        "cookie": { "type": "apiKey", "in": "cookie", "name": "lintel_session" },
        "cookie_tls": { "type": "apiKey", "in": "cookie", "name": "__Host-lintel_session" },
    })
}

fn tags() -> Value {
    let mut names: Vec<&str> = Vec::new();
    for method in METHODS {
        let first = method.name.split('.').next().unwrap_or_default();
        if !names.contains(&first) {
            names.push(first);
        }
    }
    names.iter().map(|name| json!({ "name": name })).collect()
}

/// A response for each status code that some method refuses with.
fn refusals() -> Value {
    let mut all = Map::new();
    for status in METHODS.iter().flat_map(Method::refusals) {
        all.entry(status.to_string()).or_insert_with(|| {
            let schema = json!({ "$ref": "#/components/schemas/Problem" });
            let mut response = json!({
                "description": meaning(status),
                "content": { "application/problem+json": { "schema": schema } },
            });
            if matches!(status, 429 | 503) {
                response["headers"] = json!({ "Retry-After": {
                    "description": "Seconds",
                    "schema": { "type": "string" },
                }});
            }
            response
        });
    }
    Value::Object(all)
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request is malformed, or has wrong, missing or unknown fields",
        401 => "No session, an ended one, or a wrong password",
        403 => "This caller may not do this, or another site's page asked for it",
        404 => "There is no such thing",
        408 => "The request did not arrive in time",
        409 => "It does not fit the state of the box",
        411 => "The body has no length",
        412 => "Another revision is in force than If-Match names",
        413 => "The body is too large",
        415 => "The body is of a type that is not taken here",
        417 => "The expectation cannot be met",
        421 => "The box does not answer to that host name",
        422 => "The fields do not fit; each wrong one is named",
        429 => "Too many failures: wait",
        431 => "The head of the request is too large",
        500 => "Something of the box's own broke",
        501 => "A method or a transfer coding that is not known here",
        503 => "The box is busy or starting, or a part of it does not run",
        505 => "An HTTP version that is not spoken here",
        507 => "The box cannot write to its storage",
        _ => unreachable!("{status} has no meaning yet"),
    }
}

/// RFC 9457; written by hand since the type lives with the messages between roles.
fn problem() -> Value {
    json!({
        "description": "What was wrong (RFC 9457)",
        "type": "object",
        "required": ["status", "type", "title"],
        "properties": {
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "type": { "type": "string", "description": "Stable short name" },
            "title": { "type": "string", "description": "One line" },
            "detail": { "type": "string", "description": "What to do" },
            "retry_after_s": { "type": "integer", "minimum": 1,
                "description": "With 429 and 503: when to try again, as in Retry-After" },
            "errors": { "type": "array", "description": "Every bad field", "items": {
                "type": "object",
                "required": ["path", "reason"],
                "properties": {
                    "path": { "type": "string", "description": "Which field" },
                    "line": { "type": "integer", "minimum": 1,
                        "description": "Line in the text that was sent" },
                    "reason": { "type": "string" },
                    "hint": { "type": "string", "description": "What to write instead" },
                },
            }},
        },
    })
}

/// The stream is no method: it does not end.
fn events() -> Value {
    let refused = |status: u16| json!({ "$ref": format!("#/components/responses/{status}") });
    let mut responses = json!({ "200": {
        "description": "Events as they happen, until the client ends it; ask for what they name",
        "content": { "text/event-stream": { "schema": { "type": "string" } } },
    }});
    for status in [400, 401, 408, 421, 431, 503] {
        responses[status.to_string()] = refused(status);
    }
    json!({
        "operationId": "events",
        "summary": "What happens, as server-sent events",
        "description": "Needs a session or an API token. The name of an event is its topic, its data an \
            EventEntry. A client that returns with Last-Event-ID is told what it missed, or `reset` \
            when that is not known any more.",
        "tags": ["status"],
        "security": [{ "bearer": [] }, { "cookie": [] }, { "cookie_tls": [] }],
        "parameters": [{
            "name": "Last-Event-ID", "in": "header", "required": false,
            "description": "id of the last event that was seen",
            "schema": { "type": "string" },
        }],
        "responses": responses,
    })
}

/// A line for each path, response and schema: small enough to serve, and a change of one touches
/// one line.
fn write(document: &Value) -> String {
    let mut text = String::from("{\n");
    let top = document.as_object().unwrap();
    for (n, (name, value)) in top.iter().enumerate() {
        let end = if n + 1 < top.len() { "," } else { "" };
        match name.as_str() {
            "paths" => {
                let lines = lines(value);
                writeln!(text, "\"paths\":{{\n{lines}\n}}{end}").unwrap();
            }
            "components" => {
                let parts = value.as_object().unwrap().iter();
                let parts: Vec<String> = parts
                    .map(|(part, value)| format!("\"{part}\":{{\n{}\n}}", lines(value)))
                    .collect();
                writeln!(text, "\"components\":{{\n{}\n}}{end}", parts.join(",\n")).unwrap();
            }
            _ => writeln!(text, "\"{name}\":{value}{end}").unwrap(),
        }
    }
    text.push_str("}\n");
    text
}

fn lines(object: &Value) -> String {
    let entries = object.as_object().unwrap().iter();
    let lines: Vec<String> = entries
        .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
        .collect();
    lines.join(",\n")
}
