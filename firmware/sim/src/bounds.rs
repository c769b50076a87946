//! Every table keeps to its bound.

use lintel_proto::dhcp_server::{BINDINGS_MAX, PENDING_MAX, PROBES_MAX};
use lintel_proto::dns::{ATTEMPTS_MAX, OPEN_QUESTIONS_MAX};
use lintel_proto::ntp::client::ASSOCIATIONS_MAX;

use crate::properties::{Property, Violation};
use crate::router::Router;

/// Most octets of the database: the rows of all its tables at their bounds, and what SQLite needs
/// around them.
const DATABASE_BYTES_MAX: usize = 4 << 20;

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
        let open = forwarder.open_questions();
        look("open questions", open, OPEN_QUESTIONS_MAX);
    }
    let sockets = router.dnsd.open_sockets();
    look("sockets of dnsd", sockets, ATTEMPTS_MAX);
    let server = &router.dhcpd.server;
    look("bindings", server.bindings().count(), BINDINGS_MAX);
    look("bindings under way", server.pending(), PENDING_MAX);
    look("conflict probes", server.probes(), PROBES_MAX);
    let associations = router.timed.associations();
    look("time servers asked", associations, ASSOCIATIONS_MAX);
    over
}

/// Whether the database does not.
pub fn check_database(router: &Router) -> Option<Violation> {
    let bytes = router.controld.disk.bytes();
    (bytes > DATABASE_BYTES_MAX).then(|| Violation {
        property: Property::Bounded,
        text: format!("the database: {bytes} octets, and {DATABASE_BYTES_MAX} are the bound"),
    })
}
