//! What a disk gives back: rows of the database with anything in them, and the database itself
//! with anything in it.

use std::cell::RefCell;
use std::fmt::Write as _;

use arbitrary::Unstructured;
use embassy_time::Instant;
use lintel_model::MacAddr;
use lintel_model::config::PortSelector;
use lintel_model::lease::{Binding, BindingState, WanLease};
use lintel_roles::now::Now;
use lintel_roles::{dhcpd, wand};
use lintel_store::{BINDINGS_ENTRIES_MAX, Notes, RevisionDraft, SessionRow, Store, TlsRow};

use crate::Tally;
use crate::entropy::{any, below, ipv4, number, octets, once_in, pick, text};

/// Facts by the names of their rows.
const FACTS: [&str; 8] = [
    "wan-lease",
    "detected-wan",
    "password",
    "last-time",
    "drift",
    "tls",
    "restored",
    "leaving",
];

thread_local! {
    // Made once: it takes longer than everything that is done with it.
    static STORE: RefCell<Store> = RefCell::new(Store::memory().expect("memory"));
}

/// A fact's row with any text in it: read, or refused with the row's name; what was read is
/// written and read the same, and told to its role without trouble.
pub fn stored_facts(data: &[u8]) -> Tally {
    let (which, value) = data.split_first().unwrap_or((&0, &[]));
    let name = FACTS[usize::from(*which) % FACTS.len()];
    STORE.with_borrow_mut(|store| {
        let sql = format!(
            "DELETE FROM facts; INSERT INTO facts VALUES ('{name}', CAST(x'{}' AS TEXT))",
            hex(value)
        );
        store.tamper(&sql).expect("a row");
        let read = read_facts(store);
        if read {
            assert!(read_facts(store), "what was written is not read");
        }
        Tally::one(read)
    })
}

/// Reads every fact and writes back what was read; was there one?
fn read_facts(store: &mut Store) -> bool {
    let mut found = false;
    if let Ok(Some(lease)) = store.wan_lease() {
        found = true;
        store.set_wan_lease(Some(&lease)).expect("room");
        assert_eq!(store.wan_lease().ok().flatten().as_ref(), Some(&lease));
        for unix_s in [0, lease.bound_unix_s, u64::MAX] {
            let now = Instant::from_secs(3);
            if let Some(taken) = wand::convert::from_disk(Now { mono: now, unix_s }, lease.clone())
            {
                assert!(!wand::convert::ends_in(now, &taken).is_empty());
            }
        }
    }
    if let Ok(Some(port)) = store.detected_wan() {
        found = true;
        store.set_detected_wan(Some(&port)).expect("room");
        assert_eq!(store.detected_wan().ok().flatten(), Some(port));
    }
    if let Ok(Some(row)) = store.tls() {
        found = true;
        store.set_tls(&row).expect("room");
        assert_eq!(store.tls().ok().flatten(), Some(row));
    }
    if let Ok(Some(hash)) = store.password() {
        found = true;
        store.set_password(&hash).expect("room");
    }
    if let Ok(leaving) = store.leaving()
        && !leaving.is_empty()
    {
        found = true;
        store.set_leaving(&leaving).expect("room");
        assert_eq!(store.leaving().ok(), Some(leaving));
    }
    let (time, drift) = (store.last_time(), store.drift());
    if let (Ok(last_time), Ok(drift)) = (time, drift)
        && (last_time.is_some() || drift.is_some())
    {
        found = true;
        let last_time = last_time.unwrap_or(0);
        let wan_lease = None;
        let notes = Notes {
            last_time,
            drift,
            wan_lease,
        };
        store.note(&notes).expect("room");
        assert_eq!(store.last_time().ok().flatten(), Some(last_time));
        assert_eq!(store.drift().ok().flatten(), drift);
    }
    found
}

/// Rows of bindings and sessions with any values of any types: all are read or none, and what
/// was read the DHCP server takes.
pub fn stored_rows(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut sql = "DELETE FROM bindings; DELETE FROM sessions;".to_owned();
    let count = below(&mut u, 4);
    for _ in 0..count {
        // Writing to a string cannot fail.
        let _ = write!(
            sql,
            "INSERT OR REPLACE INTO bindings VALUES ({}, {}, {}, {}, {}, {}, {});",
            integer(&mut u),
            blob(&mut u, 6),
            blob(&mut u, 4),
            pick(&mut u, &["NULL", "'nas'", "CAST(x'ff' AS TEXT)", "''"]),
            integer(&mut u),
            integer(&mut u),
            pick(
                &mut u,
                &["'bound'", "'released'", "'declined'", "'lost'", "''"]
            ),
        );
        let _ = write!(
            sql,
            "INSERT OR REPLACE INTO sessions (token_sha256, created_unix_s, used_unix_s) VALUES ({}, {}, {});",
            blob(&mut u, 32),
            integer(&mut u),
            integer(&mut u)
        );
    }
    STORE.with_borrow_mut(|store| {
        store.tamper(&sql).expect("rows of the right types");
        let sessions = store.sessions();
        let Ok(bindings) = store.bindings() else {
            return Tally::REFUSED;
        };
        assert!(bindings.len() <= count);
        assert!(sessions.is_ok_and(|all| all.len() <= count) || count > 0);
        for unix_s in [0, 1_700_000_000, u64::MAX] {
            let now = Now {
                mono: Instant::from_secs(3),
                unix_s,
            };
            let taken = dhcpd::convert::from_disk(now, bindings.clone());
            assert_eq!(taken.len(), bindings.len());
            for binding in taken {
                let back = dhcpd::convert::to_disk(now, binding);
                assert!(
                    bindings
                        .iter()
                        .any(|b| b.address == back.address && b.mac == back.mac)
                );
            }
        }
        Tally::one(!bindings.is_empty())
    })
}

/// A number that may not fit where it is read.
fn integer(u: &mut Unstructured<'_>) -> i64 {
    match below(u, 4) {
        0 => any(u),
        1 => -1,
        _ => i64::from(number(u)),
    }
}

/// Octets, mostly as many as there should be.
fn blob(u: &mut Unstructured<'_>, len: usize) -> String {
    let octets = if once_in(u, 6) {
        octets(u, 40)
    } else {
        (0..len).map(|_| any(u)).collect()
    };
    format!("x'{}'", hex(&octets))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// A database of a box in use, of which octets were changed: it is refused, or every question to
/// it ends with an answer or an error, and it takes a write or says why not.
pub fn stored_image(data: &[u8]) -> Tally {
    thread_local!(static IMAGE: Vec<u8> = image());
    let mut u = Unstructured::new(data);
    let mut image = IMAGE.with(Vec::clone);
    while !u.is_empty() {
        // Headers of pages, where structure is, or anywhere.
        let page = below(&mut u, image.len() / 4096) * 4096;
        let at = page
            + if any(&mut u) {
                below(&mut u, 128)
            } else {
                below(&mut u, 4096)
            };
        image[at] = match below(&mut u, 3) {
            0 => image[at] ^ (1 << below(&mut u, 8)),
            1 => pick(&mut u, &[0, 1, 0x7f, 0x80, 0xff]),
            _ => any(&mut u),
        };
    }
    let Ok(mut store) = Store::from_image(&image) else {
        return Tally::REFUSED;
    };
    let _ = (store.wan_lease(), store.detected_wan(), store.leaving());
    let _ = (
        store.tls(),
        store.password(),
        store.last_time(),
        store.drift(),
    );
    let _ = store.sessions();
    let _ = store.audit(u64::MAX, 100);
    let _ = store.bindings();
    let _ = store.revision(1);
    if let Ok(heads) = store.revisions(u64::MAX, 100) {
        assert!(heads.len() <= 100);
    }
    let before = store.bindings().map(|all| all.len());
    if store.put_bindings([&binding()], 0).is_ok()
        && let (Ok(before), Ok(after)) = (before, store.bindings())
    {
        assert!(after.len() <= before + 1 && after.len() <= BINDINGS_ENTRIES_MAX);
    }
    Tally::ACCEPTED
}

fn binding() -> Binding {
    Binding {
        address: [192, 168, 1, 200].into(),
        mac: MacAddr([2, 0, 0x5e, 0, 0x53, 1]),
        client_id: vec![1, 2],
        host_name: Some("laptop".to_owned()),
        bound_unix_s: 1_700_000_000,
        expires_unix_s: 1_700_003_600,
        state: BindingState::Bound,
    }
}

fn image() -> Vec<u8> {
    let mut store = Store::memory().expect("memory");
    let draft = RevisionDraft {
        toml: "[lan]\naddress = \"192.168.1.1/24\"\n",
        author: "local",
        reason: "",
        unix_s: 1_700_000_000,
        pending: false,
    };
    store.commit_revision(&draft).expect("a revision");
    for last in 1..20 {
        let address = [192, 168, 1, last].into();
        let binding = Binding {
            address,
            ..binding()
        };
        store.put_bindings([&binding], 0).expect("room");
    }
    let session = SessionRow {
        token_sha256: [7; 32],
        created_unix_s: 1_700_000_000,
        used_unix_s: 1_700_000_000,
        address: Some([192, 168, 1, 9].into()),
    };
    store.put_session(&session).expect("room");
    store.set_password("$argon2id$").expect("room");
    let notes = Notes {
        last_time: 1_700_000_000,
        drift: Some(-12),
        wan_lease: None,
    };
    store.note(&notes).expect("room");
    store.image().expect("an image")
}

/// The number of a fact, and what may stand there.
pub fn fact_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let which = below(u, FACTS.len());
    let value = match which {
        0 => {
            let address = ipv4(u);
            serde_json::to_string(&WanLease {
                link: "wan0".parse().expect("a name"),
                address,
                prefix_len: any(u),
                router: any::<bool>(u).then_some(address),
                dns: (0..below(u, 3)).map(|_| ipv4(u)).collect(),
                ntp: (0..below(u, 2)).map(|_| ipv4(u)).collect(),
                domain: any::<bool>(u).then(|| text(u, b"abc.", 6)),
                mtu: any(u),
                routes: Vec::new(),
                server: ipv4(u),
                bound_unix_s: any(u),
                lease_s: number(u),
                renew_s: number(u),
                rebind_s: number(u),
            })
        }
        1 => serde_json::to_string(&match below(u, 2) {
            0 => PortSelector::Name("eth0".parse().expect("a name")),
            _ => PortSelector::Mac(MacAddr(any(u))),
        }),
        5 => serde_json::to_string(&TlsRow {
            key_der: octets(u, 20),
            certificate_der: octets(u, 20),
            names: vec![text(u, b"abc.", 6)],
            made_unix_s: any(u),
        }),
        3 => serde_json::to_string(&any::<u64>(u)),
        4 => serde_json::to_string(&any::<i64>(u)),
        7 => serde_json::to_string(&[format!("192.168.{}.1/{}", any::<u8>(u), below(u, 40))]),
        _ => serde_json::to_string(&text(u, b"$a\"\\\n", 9)),
    };
    let mut octets = vec![u8::try_from(which).unwrap_or(0)];
    octets.extend(value.expect("JSON").bytes());
    octets
}
