//! Every table keeps to its bound.

use crate::properties::{Property, Violation};
use crate::router::Router;

/// The first table that does not.
pub fn check(router: &Router) -> Option<Violation> {
    let mut over = None;
    let mut look = |what: &str, len: usize, max: usize| {
        if len > max && over.is_none() {
            over = Some(Violation {
                property: Property::Bounded,
                text: format!("{what}: {len}, and {max} is the bound"),
            });
        }
    };
    if let Some(forwarder) = &router.dnsd.forwarder {
        let (entries, bytes) = forwarder.cache_size();
        look("octets of dnsd's cache", bytes, router.dnsd.cache_bytes_max);
        look(
            "entries of dnsd's cache",
            entries,
            router.dnsd.cache_bytes_max / 256,
        );
    }
    over
}
