//! The one table of methods: what can be asked of a box.
//!
//! [`METHODS`] lists every method once, with its name, who may call it, its HTTP verb and path
//! and its parameters. The REST router, the CLI's words and its help come from it; controld
//! dispatches on [`MethodId`], so that a method without an answer does not compile.
//! [`types`] has the shapes of parameters and results.
//!
//! This crate is pure, and nothing in it panics on any text.

pub mod method;
mod table;
pub mod types;

pub use method::{Access, Content, Lookup, Method, MethodId, Param, ParamKind, Place, Scope, Verb};
pub use table::METHODS;

/// The table as an OpenAPI 3.1 document. It is kept in the tree, so that a change of the interface
/// is seen as one; a test holds it to the table and says how to make it anew.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The method with this name (`dhcp.leases.list`).
pub fn by_name(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// The row of a method.
pub fn by_id(id: MethodId) -> &'static Method {
    let row = METHODS.iter().find(|method| method.id == id);
    #[expect(clippy::expect_used, reason = "ids come from rows; a test finds each")]
    row.expect("every id has its row, which the tests of the table hold")
}

/// The method behind an HTTP verb and path, with the path's parameters as they stand there,
/// percent-decoding left to the caller.
pub fn by_path<'p>(verb: &str, path: &'p str) -> Lookup<'p> {
    let mut allowed = Vec::new();
    for method in METHODS {
        if let Some(params) = method.match_path(path) {
            if method.verb.as_str() == verb {
                return Lookup::Found { method, params };
            }
            allowed.push(method.verb);
        }
    }
    if allowed.is_empty() {
        Lookup::NotFound
    } else {
        Lookup::WrongVerb { allowed }
    }
}

/// The method whose words (its name's parts, or its alias) begin `words`, and how many of them
/// it took. The longest match wins.
pub fn by_words(words: &[&str]) -> Option<(&'static Method, usize)> {
    METHODS
        .iter()
        .flat_map(|method| {
            let full: Vec<&str> = method.name.split('.').collect();
            let aliases = method.aliases.iter().map(|a| a.split(' ').collect());
            std::iter::once(full)
                .chain(aliases)
                .map(move |spelling: Vec<&str>| (method, spelling))
        })
        .filter(|(_, spelling)| words.starts_with(spelling))
        .map(|(method, spelling)| (method, spelling.len()))
        .max_by_key(|(_, taken)| *taken)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_ids_and_routes_are_unique() {
        let mut names = BTreeSet::new();
        let mut ids = BTreeSet::new();
        let mut routes = BTreeSet::new();
        for method in METHODS {
            assert!(names.insert(method.name), "{} twice", method.name);
            assert!(ids.insert(method.id), "{:?} twice", method.id);
            assert!(
                routes.insert((method.verb.as_str(), method.path)),
                "{} {} twice",
                method.verb.as_str(),
                method.path
            );
            for alias in method.aliases {
                assert!(names.insert(alias), "{alias} twice");
            }
        }
    }

    #[test]
    fn rows_keep_the_style_of_the_surface() {
        for method in METHODS {
            let name = method.name;
            assert!(
                matches!(method.path, "/health" | "/metrics") || method.path.starts_with("/api/"),
                "{name}: {}",
                method.path
            );
            let clean = |text: &str| {
                text.bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_')
            };
            assert!(method.name.split('.').all(clean), "{name}");
            for part in method.path.trim_start_matches('/').split('/') {
                let inner = part.strip_prefix('{').and_then(|p| p.strip_suffix('}'));
                let bare = inner.unwrap_or(part).trim_end_matches(".json");
                assert!(clean(bare), "{name}: {part}");
                if let Some(inner) = inner {
                    let param = method.param(inner).expect("declared");
                    assert_eq!(param.place, Place::Path, "{name}: {inner}");
                    assert!(param.required, "{name}: {inner}");
                }
            }
            let in_path = method.params.iter().filter(|p| p.place == Place::Path);
            for param in in_path {
                assert!(method.path.contains(&format!("{{{}}}", param.name)));
            }
            if method.verb == Verb::Get {
                let mut places = method.params.iter().map(|p| p.place);
                assert!(places.all(|p| p != Place::Body), "{name}: GET has no body");
            }
            assert!(!method.summary.is_empty() && !method.summary.ends_with('.'));
        }
    }

    #[test]
    fn each_lookup_leads_back_to_its_row() {
        for method in METHODS {
            assert_eq!(by_name(method.name).unwrap().id, method.id);
            assert_eq!(by_id(method.id).name, method.name);
            let path = method
                .path
                .replace("{name}", "dnsd")
                .replace("{ip}", "192.0.2.1")
                .replace("{revision}", "7")
                .replace("{id}", "7");
            match by_path(method.verb.as_str(), &path) {
                Lookup::Found {
                    method: found,
                    params,
                } => {
                    assert_eq!(found.id, method.id);
                    assert_eq!(params.len(), method.path.matches('{').count());
                }
                other => panic!("{path}: {other:?}"),
            }
            let words: Vec<&str> = method.name.split('.').collect();
            assert_eq!(by_words(&words).unwrap().0.id, method.id);
        }
    }

    #[test]
    fn paths_that_are_not_there_and_verbs_that_do_not_fit_are_told_apart() {
        assert!(matches!(by_path("GET", "/api/nothing"), Lookup::NotFound));
        assert!(matches!(
            by_path("GET", "/api/dhcp/leases/"),
            Lookup::NotFound
        ));
        assert!(matches!(by_path("GET", ""), Lookup::NotFound));
        let Lookup::WrongVerb { allowed } = by_path("POST", "/api/config") else {
            panic!("POST /api/config");
        };
        assert_eq!(allowed, [Verb::Get, Verb::Put, Verb::Patch]);
    }

    #[test]
    fn words_take_the_longest_match_and_leave_the_rest() {
        let (method, taken) = by_words(&["leases"]).unwrap();
        assert_eq!((method.name, taken), ("dhcp.leases.list", 1));
        let (method, taken) = by_words(&["services", "restart", "dnsd"]).unwrap();
        assert_eq!((method.name, taken), ("services.restart", 2));
        let (method, taken) = by_words(&["services"]).unwrap();
        assert_eq!((method.name, taken), ("services.status", 1));
        assert!(by_words(&["nonsense"]).is_none());
    }

    #[test]
    fn texts_become_typed_values() {
        let lines = by_name("logs.services").unwrap().param("lines").unwrap();
        assert_eq!(lines.parse("20").unwrap(), 20);
        assert!(lines.parse("many").is_err());
        let dry = by_name("config.apply").unwrap().param("dry_run").unwrap();
        assert_eq!(dry.parse("1").unwrap(), true);
        assert_eq!(dry.parse("false").unwrap(), false);
        assert!(dry.parse("maybe").is_err());
        let ip = by_name("dhcp.leases.delete").unwrap().param("ip").unwrap();
        assert_eq!(ip.parse("192.0.2.1").unwrap(), "192.0.2.1");
        assert!(ip.parse("192.0.2").is_err());
    }
}
