//! The certificate over the life of a box.

use super::*;

/// What webd hears when its session begins.
fn first_words(bench: &mut Bench) -> (ToWebd, ToWebd) {
    let now = bench.now();
    bench.core.handle(now, Input::Session(RoleName::Webd));
    let words = std::iter::from_fn(|| bench.core.poll());
    let mut words = words.filter_map(|output| match output {
        Output::Webd(word) => Some(word),
        _ => None,
    });
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn a_start_keeps_key_and_certificate_and_webd_has_them_after_its_spec() {
    let bench = Bench::settled();
    let made = bench.core.tls.clone().unwrap();
    assert_eq!(made.names, ["lintel", "lintel.lan", "192.168.1.1"]);
    let mut again = Bench::new(start(), bench.core.store);
    assert_eq!(again.core.tls.as_ref(), Some(&made));
    again.input(Input::Session(RoleName::Netd));
    let (spec, tls) = first_words(&mut again);
    assert!(matches!(spec, ToWebd::Spec(_)));
    assert_eq!(format!("{tls:?}"), "Tls(TlsIdentity)", "the key is told");
    let ToWebd::Tls(identity) = tls else {
        panic!("{tls:?}");
    };
    assert_eq!(identity.chain_der, [made.certificate_der]);
    assert_eq!(identity.key_der, made.key_der);
}

#[test]
fn a_new_name_or_address_is_a_new_certificate_of_the_same_key() {
    let mut bench = Bench::settled();
    let first = bench.core.tls.clone().unwrap();
    let shown = bench.status().system.tls_sha256.unwrap();
    assert_eq!(shown.len(), 95);
    bench.apply("# nothing of interest\n").unwrap();
    assert_eq!(bench.core.tls.as_ref(), Some(&first));
    for (toml, name) in [
        ("[system]\nhostname = \"attic\"\n", "attic.lan"),
        ("[lan]\ndomain = \"home.arpa\"\n", "lintel.home.arpa"),
        ("[lan]\naddress = \"10.1.0.1/16\"\n", "10.1.0.1"),
    ] {
        bench.apply(toml).unwrap();
        bench.pass_ms(1_000);
        let next = bench.core.tls.clone().unwrap();
        assert!(next.names.iter().any(|n| n == name), "{:?}", next.names);
        assert_eq!(next.key_der, first.key_der);
        assert_ne!(next.certificate_der, first.certificate_der);
        assert_ne!(bench.status().system.tls_sha256.unwrap(), shown);
        assert_eq!(bench.core.store.tls().unwrap(), Some(next));
    }
}

#[test]
fn with_failed_storage_there_is_a_key_for_this_start() {
    let mut failed = start();
    failed.data = DataState::Failed {
        reason: "the test".to_owned(),
    };
    let one = Bench::new(failed.clone(), Store::memory().unwrap());
    let two = Bench::new(failed, Store::memory().unwrap());
    let key = |bench: &Bench| bench.core.tls.clone().unwrap().key_der;
    assert_ne!(key(&one), key(&two));
}
