//! REST: (verb, path) -> method of `lintel-api`, one object of parameters, one call.

use data_encoding::BASE64;
use lintel_api::types::TaskResult;
use lintel_api::{Content, Lookup, Method, MethodId, Place};
use lintel_ipc::call::{FieldError, Problem};
use serde_json::{Map, Value};

use super::{
    App, Asked, away, guard, json, problem, problem_answer, session_cookie, urls, wrong_method,
};
use crate::webd::front::answer::Answer;

/// The answer to a request below `/api/`.
pub(crate) fn answer(app: &App, asked: &Asked) -> Answer {
    match call(app, asked) {
        Ok(answer) => answer,
        Err(problem) => problem_answer(&problem),
    }
}

fn call(app: &App, asked: &Asked) -> Result<Answer, Problem> {
    let (method, in_path) = match lintel_api::by_path(&asked.method, &asked.path) {
        Lookup::Found { method, params } => (method, params),
        Lookup::WrongVerb { allowed } => {
            let allowed: Vec<&str> = allowed.iter().map(|verb| verb.as_str()).collect();
            return Err(wrong_method(&allowed.join(", ")));
        }
        Lookup::NotFound => {
            return Err(problem(404, "unknown-path", "There is no such path", ""));
        }
    };
    if method.verb != lintel_api::Verb::Get && guard::is_cross_site(asked) {
        return Err(problem(
            403,
            "cross-site",
            "Another site's page asked for this",
            "Only pages of this box may change something on it.",
        ));
    }
    let done =
        params(method, &in_path, asked).and_then(|params| perform(app, asked, method, params));
    if let Err(problem) = &done {
        // The document promises that no other status comes; each test that calls a method checks.
        let told = method.refusals().contains(&problem.status);
        debug_assert!(told, "{} does not name {}", method.name, problem.status);
    }
    done
}

fn perform(
    app: &App,
    asked: &Asked,
    method: &Method,
    params: Map<String, Value>,
) -> Result<Answer, Problem> {
    let mut fields = vec![
        ("content-type", method.content().media_type().to_owned()),
        ("cache-control", "no-store".to_owned()),
    ];
    let body = if method.id == MethodId::Openapi {
        lintel_api::OPENAPI.as_bytes().to_vec()
    } else {
        let reply = app
            .call(asked, method.name, Value::Object(params))
            .map_err(|_| away())?;
        let session = reply.set_session.as_deref();
        fields.extend(session.map(|token| session_cookie(token, asked.secure)));
        let value = reply.result?;
        if method.id == MethodId::ConfigShow
            && let Some(revision) = value.get("revision").and_then(Value::as_u64)
        {
            fields.push(("etag", format!("\"{revision}\"")));
        }
        match (method.content(), value) {
            (Content::Text, Value::String(text)) => text.into_bytes(),
            (Content::File, value) => {
                let (name, content) = file(value)?;
                let disposition = format!("attachment; filename=\"{name}\"");
                fields.push(("content-disposition", disposition));
                content
            }
            (_, value) => value.to_string().into_bytes(),
        }
    };
    Ok(Answer {
        status: 200,
        fields,
        body,
    })
}

/// A file's name and content; the name is of letters that stand in a field as they are.
fn file(value: Value) -> Result<(String, Vec<u8>), Problem> {
    let broken = || problem(500, "internal", "The file cannot be read", "");
    let file: TaskResult = serde_json::from_value(value).map_err(|_| broken())?;
    let content = BASE64.decode(file.content_base64.as_bytes());
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-._".contains(*c);
    let name = file.file_name.chars().filter(plain).collect();
    Ok((name, content.map_err(|_| broken())?))
}

/// Path, query and body as one object; every wrong field is named at once.
fn params(
    method: &Method,
    in_path: &[(&'static str, &str)],
    asked: &Asked,
) -> Result<Map<String, Value>, Problem> {
    let mut found = Found::default();
    for (name, raw) in in_path {
        found.take_text(method, Place::Path, name, urls::decode(raw).as_deref());
    }
    match urls::pairs(&asked.query) {
        None => found.wrong("query", "it is not percent-encoded UTF-8"),
        Some(pairs) => {
            for (name, value) in pairs {
                found.take_text(method, Place::Query, &name, Some(&value));
            }
        }
    }
    for param in method.params.iter().filter(|p| p.place == Place::Header) {
        if let Some(text) = asked.field(&param.field_name()) {
            found.take_text(method, Place::Header, param.name, Some(text));
        }
    }
    if !asked.body.is_empty() {
        for (name, value) in body(method, asked)? {
            found.take_value(method, &name, value);
        }
    }
    for param in method.params.iter().filter(|param| param.required) {
        if !found.params.contains_key(param.name) && found.not_wrong(param.name) {
            found.wrong(param.name, "it is missing");
        }
    }
    if found.errors.is_empty() {
        return Ok(found.params);
    }
    Err(Problem {
        errors: found.errors,
        ..problem(
            400,
            "bad-parameters",
            "The request has wrong or missing fields",
            "",
        )
    })
}

fn body(method: &Method, asked: &Asked) -> Result<Map<String, Value>, Problem> {
    match asked.content_type() {
        "application/json" => match json::parse(&asked.body) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(problem(
                400,
                "bad-json",
                "The body must be a JSON object",
                "",
            )),
            Err(error) => Err(problem(
                400,
                "bad-json",
                "The body is no JSON",
                &error.to_string(),
            )),
        },
        // RFC 7396, as it is.
        "application/merge-patch+json" if method.param("patch").is_some() => {
            match json::parse(&asked.body) {
                Ok(patch @ Value::Object(_)) => Ok(Map::from_iter([("patch".to_owned(), patch)])),
                Ok(_) | Err(_) => Err(problem(
                    400,
                    "bad-json",
                    "The body must be a JSON object",
                    "",
                )),
            }
        }
        // A configuration file as it is, for curl --data-binary.
        "application/toml" if method.param("toml").is_some() => {
            let text = String::from_utf8(asked.body.clone())
                .map_err(|_| problem(400, "bad-toml", "The body is no UTF-8", ""))?;
            Ok(Map::from_iter([("toml".to_owned(), Value::from(text))]))
        }
        _ => Err(problem(
            415,
            "content-type",
            "The body must be JSON",
            "Send it with Content-Type: application/json.",
        )),
    }
}

#[derive(Default)]
struct Found {
    params: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Found {
    fn take_text(&mut self, method: &Method, place: Place, name: &str, text: Option<&str>) {
        let value = match (text, method.param(name)) {
            (None, _) => Err("it is not percent-encoded UTF-8".to_owned()),
            (Some(text), Some(param)) => param.parse(text),
            (Some(_), None) => Ok(Value::Null),
        };
        self.take(method, place, name, value);
    }

    /// A null is a field that was left out.
    fn take_value(&mut self, method: &Method, name: &str, value: Value) {
        let checked = match method.param(name) {
            Some(param) if !param.required && value.is_null() => return,
            Some(param) => param.check(&value),
            None => Ok(()),
        };
        self.take(method, Place::Body, name, checked.map(|()| value));
    }

    fn take(&mut self, method: &Method, place: Place, name: &str, value: Result<Value, String>) {
        // The body may carry what usually stands in the query, and never the other way round:
        // queries end up in histories and logs.
        let fits = |at: Place| at == place || (place == Place::Body && at == Place::Query);
        let known = method.param(name).is_some_and(|param| fits(param.place));
        if !known {
            return self.wrong(name, "there is no such parameter");
        }
        match value {
            Err(reason) => self.wrong(name, &reason),
            Ok(value) => {
                if self.params.insert(name.to_owned(), value).is_some() {
                    self.wrong(name, "it is given twice");
                }
            }
        }
    }

    fn wrong(&mut self, path: &str, reason: &str) {
        self.errors.push(FieldError {
            path: path.chars().take(64).collect(),
            reason: reason.to_owned(),
            ..FieldError::default()
        });
    }

    fn not_wrong(&self, name: &str) -> bool {
        self.errors.iter().all(|error| error.path != name)
    }
}
