//! Anything in any order: nothing panics, no promise is broken, each call has one answer.

use lintel_api::METHODS;
use lintel_ipc::wand::FromWand;
use lintel_model::lease::{Binding, BindingState};
use proptest::prelude::*;
use serde_json::json;

use super::*;

#[derive(Debug, Clone)]
enum Deed {
    Session(u8),
    Ended(u8),
    Bind(u8, u8, bool),
    Call(usize, u8, bool),
    Apply(u8),
    Seen(bool),
    Carrier(bool, bool),
    Refuse(bool),
    Init(bool),
    Full(bool),
    Pass(u32),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (0u8..6).prop_map(Deed::Session),
        (0u8..6).prop_map(Deed::Ended),
        (any::<u8>(), 0u8..4, any::<bool>()).prop_map(|(n, kind, name)| Deed::Bind(n, kind, name)),
        (0..METHODS.len(), 0u8..6, any::<bool>()).prop_map(|(m, p, web)| Deed::Call(m, p, web)),
        (0u8..4).prop_map(Deed::Apply),
        any::<bool>().prop_map(Deed::Seen),
        (any::<bool>(), any::<bool>()).prop_map(|(which, on)| Deed::Carrier(which, on)),
        any::<bool>().prop_map(Deed::Refuse),
        any::<bool>().prop_map(Deed::Init),
        any::<bool>().prop_map(Deed::Full),
        (1u32..20_000).prop_map(Deed::Pass),
    ]
}

const CONFIGS: [&str; 4] = [
    "",
    "[lan]\naddress = \"10.1.1.1/24\"\n",
    "[wan]\nkind = \"none\"\n",
    "[nonsense]\n",
];

/// Parameters that fit some method, and some that fit none. No password: argon2 is slow.
fn params(n: u8) -> Value {
    match n {
        0 => Value::Null,
        1 => json!({"name": "dnsd"}),
        2 => json!({"ip": "192.168.1.100"}),
        3 => json!({"limit": 0, "cursor": "x"}),
        4 => json!([1, 2, 3]),
        _ => json!({"toml": "[lan]\n", "dry_run": true}),
    }
}

fn act(bench: &mut Bench, deed: &Deed, token: &mut u64, calls: &mut Vec<u64>) {
    match deed {
        Deed::Session(n) => {
            bench.input(Input::Session(RoleName::PEERS_OF_CONTROLD[usize::from(*n)]))
        }
        Deed::Ended(n) => bench.input(Input::SessionEnded(
            RoleName::PEERS_OF_CONTROLD[usize::from(*n)],
        )),
        Deed::Bind(n, kind, named) => {
            *token += 1;
            let binding = Binding {
                address: Ipv4Addr::new(192, 168, if *kind == 3 { 9 } else { 1 }, *n),
                mac: mac(*n),
                client_id: vec![*n; usize::from(*n)],
                host_name: named.then(|| format!("host-{}", n % 8)),
                bound_unix_s: bench.now().unix_s,
                expires_unix_s: bench.now().unix_s + 600,
                state: match kind {
                    0 => BindingState::Released,
                    1 => BindingState::Declined,
                    _ => BindingState::Bound,
                },
            };
            bench.dhcp.clear();
            bench.input(Input::Dhcpd(vec![super::leases::bind(
                *token,
                binding.clone(),
            )]));
            let answers: Vec<bool> = bench
                .dhcp
                .iter()
                .filter_map(|message| match message {
                    ToDhcpd::Durable { token: t } if t == token => Some(true),
                    ToDhcpd::NotDurable { token: t } if t == token => Some(false),
                    _ => None,
                })
                .collect();
            assert_eq!(answers.len(), 1);
            if answers[0] {
                let stored = bench.core.store.bindings().unwrap();
                assert!(
                    stored.iter().any(|row| holds(row, &binding)),
                    "promised and not stored"
                );
            }
        }
        Deed::Call(method, n, web) => {
            let via = if *web { Via::Web } else { Via::Control(1) };
            let id = bench.send(via, METHODS[*method].name, params(*n), Caller::default());
            if !*web {
                calls.push(id);
            }
        }
        Deed::Apply(n) => {
            let params = json!({"toml": CONFIGS[usize::from(*n)]});
            calls.push(bench.send(Via::Control(1), "config.apply", params, Caller::default()));
        }
        Deed::Seen(first) => {
            let link = if *first { "eth0" } else { "eth1" };
            let link = link.parse().unwrap();
            bench.input(Input::Wand(FromWand::ServerSeen { link }));
        }
        Deed::Carrier(first, on) => {
            let link = usize::from(!*first);
            if let Some(link) = bench.kernel.state.links.get_mut(link) {
                link.carrier = *on;
            }
            if bench.core.up.contains(&RoleName::Netd) {
                let look = bench.look();
                bench.input(Input::Netd(FromNetd::Observed(look)));
            }
        }
        Deed::Refuse(on) => bench.refuse = *on,
        Deed::Init(on) => bench.init = *on,
        Deed::Full(on) => {
            let pages = if *on { 1 } else { 10_000 };
            bench.core.store.set_pages_max(pages).unwrap();
        }
        Deed::Pass(ms) => bench.pass_ms(u64::from(*ms)),
    }
}

/// The row says of the binding all that matters, for as long as it lasts and not for ever.
fn holds(row: &Binding, binding: &Binding) -> bool {
    let lasts = binding.expires_unix_s.saturating_sub(binding.bound_unix_s);
    let until = binding.expires_unix_s..=binding.expires_unix_s.saturating_add(lasts);
    let same = Binding {
        bound_unix_s: binding.bound_unix_s,
        expires_unix_s: binding.expires_unix_s,
        ..row.clone()
    };
    same == *binding && until.contains(&row.expires_unix_s)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn promises_hold_whatever_happens(deeds in proptest::collection::vec(deed(), 1..60)) {
        let board = BoardSpec::default();
        let mut bench = Bench::new(Start { board, ..start() }, Store::memory().unwrap());
        let (mut token, mut calls) = (0, Vec::new());
        for deed in &deeds {
            act(&mut bench, deed, &mut token, &mut calls);
        }
        bench.refuse = false;
        bench.init = true;
        bench.core.store.set_pages_max(10_000).unwrap();
        bench.join_all();
        bench.pass_ms(200_000);
        for id in calls {
            prop_assert_eq!(bench.replies.get(&id).map(Vec::len), Some(1), "call {}", id);
        }
        prop_assert!(bench.core.converge.is_settled(), "{:?}", bench.core.step_error);
        prop_assert!(bench.kernel.violations.is_empty(), "{:?}", bench.kernel.violations);
        // What the machine keeps in memory is what the store has.
        let stored = bench.core.store.bindings().unwrap();
        let kept: Vec<Binding> = bench.core.bindings.values().cloned().collect();
        prop_assert_eq!(stored.len(), kept.len());
        prop_assert!(stored.iter().zip(&kept).all(|(row, binding)| holds(row, binding)));
        let plans = bench.plans;
        bench.pass_ms(60_000);
        prop_assert_eq!(bench.plans, plans, "peace");
    }
}
