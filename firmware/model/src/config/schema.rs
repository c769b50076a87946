//! The configuration's JSON Schema, from its description.

use serde_json::{Map, Value, json};

use super::Config;
use super::description::{CONFIGURATION, KeyDescription, Kind, SectionDescription, TextForm};

/// The schema of the configuration as a tree, in JSON as well as in TOML (JSON Schema 2020-12).
///
/// What it refuses is wrong; what it accepts may still be refused by the checks of
/// [`Config::parse`], which compare values with each other.
pub fn json_schema() -> Value {
    // A tree of our own is JSON; without it the schema would only lack its defaults.
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut schema = section(&CONFIGURATION, &defaults);
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!("Lintel configuration"));
    Value::Object(schema)
}

fn section(description: &SectionDescription, defaults: &Value) -> Map<String, Value> {
    let properties: Map<String, Value> = description
        .keys
        .iter()
        .map(|described| {
            let default = defaults.get(described.name).unwrap_or(&Value::Null);
            (described.name.to_owned(), key(described, default).into())
        })
        .collect();
    let required: Vec<&str> = description
        .keys
        .iter()
        .filter(|key| key.required)
        .map(|key| key.name)
        .collect();
    let mut schema = object(json!({
        "type": "object",
        "description": description.sentence,
        "additionalProperties": false,
    }));
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

fn key(described: &KeyDescription, default: &Value) -> Map<String, Value> {
    let mut schema = match &described.kind {
        Kind::Text(form) => text(form),
        Kind::Word(words) => object(json!({"enum": words})),
        Kind::Number { min, max, .. } => {
            object(json!({"type": "integer", "minimum": min, "maximum": max}))
        }
        Kind::Flag => object(json!({"type": "boolean"})),
        Kind::Texts { form, entries_max } => object(json!({
            "type": "array",
            "items": text(form),
            "maxItems": entries_max,
        })),
        Kind::Section(description) => return section(description, default),
        Kind::Sections { entry, entries_max } => object(json!({
            "type": "array",
            "items": section(entry, &Value::Null),
            "maxItems": entries_max,
        })),
    };
    if !described.sentence.is_empty() {
        schema.insert("description".to_owned(), json!(described.sentence));
    }
    if !default.is_null() {
        schema.insert("default".to_owned(), default.clone());
    }
    schema
}

fn text(form: &TextForm) -> Map<String, Value> {
    let mut schema = object(json!({"type": "string"}));
    if !form.pattern.is_empty() {
        schema.insert("pattern".to_owned(), json!(form.pattern));
    }
    schema.insert("title".to_owned(), json!(form.what));
    schema
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
