//! What a householder changes.

use lintel_api::{MethodId, by_id};
use serde_json::{Value, json};

use crate::scenario::Params;
use crate::world::Outside;

/// The next wish: a method and its parameters.
pub fn next(params: &Params, out: &mut Outside) -> (&'static str, Value) {
    let base = params.config();
    let toml = match out.dice.range(0, 9) {
        0 => return forget(out),
        1 => format!(
            "{base}[system]\nhostname = \"box-{}\"\n",
            out.dice.range(1, 9)
        ),
        2 => format!(
            "{base}[[dns.records]]\nname = \"nas\"\ntype = \"A\"\nvalue = \"192.168.1.{}\"\n",
            out.dice.range(2, 90)
        ),
        3 => format!(
            "[lan]\naddress = \"10.{}.1.1/24\"\n[dhcp]\nlease_s = {}\n",
            out.dice.range(1, 3),
            params.lease_s
        ),
        4 => format!(
            "[dhcp]\nlease_s = {}\npool = {{ first = \"192.168.1.{}\", last = \"192.168.1.{}\" }}\n",
            params.lease_s,
            out.dice.range(90, 110),
            out.dice.range(115, 140)
        ),
        5 => format!("{base}[wan]\nkind = \"none\"\n"),
        6 => format!("{base}[wan]\nport = \"eth1\"\n"),
        7 => base.replace(
            &format!("lease_s = {}", params.lease_s),
            &format!("lease_s = {}", params.lease_s_max()),
        ),
        8 => "[nonsense]\n".to_owned(),
        _ => base,
    };
    ("config.apply", json!({"toml": toml}))
}

fn forget(out: &mut Outside) -> (&'static str, Value) {
    let held: Vec<_> = out.addresses.iter().flatten().copied().collect();
    let address = out.dice.one(&held);
    let address = address.map_or("192.168.1.100".to_owned(), |address| address.to_string());
    (
        by_id(MethodId::DhcpLeasesDelete).name,
        json!({"ip": address}),
    )
}
