//! What came of a test of the network, for people.

use lintel_model::probe::{
    Hop, MtuReport, PingReport, PortReport, ProbeReport, ResolveReport, TraceReport,
};

use super::text::{clean, row, table};

pub(super) fn report(report: &ProbeReport) -> String {
    match report {
        ProbeReport::Ping(ping) => pinged(ping),
        ProbeReport::Traceroute(trace) => traced(trace),
        ProbeReport::Resolve(resolve) => resolved(resolve),
        ProbeReport::Port(port) => checked(port),
        ProbeReport::PathMtu(path) => measured(path),
    }
}

fn pinged(ping: &PingReport) -> String {
    let mut text = format!("{}\n", ping.address);
    for packet in &ping.packets {
        let line = match (packet.rtt_us, &packet.error) {
            (Some(rtt_us), _) => {
                let ttl = packet.ttl.unwrap_or(0);
                format!("{}, time to live left {ttl}", ms(rtt_us))
            }
            (None, Some(error)) => {
                let by = packet.refused_by.map(|by| format!("{by}: "));
                by.unwrap_or_default() + &clean(error)
            }
            (None, None) => "no answer".to_owned(),
        };
        text.push_str(&format!("{:>3}  {line}\n", packet.seq));
    }
    let lost = ping.sent.saturating_sub(ping.received);
    let per_cent = (u64::from(lost) * 100).checked_div(ping.sent.into());
    text.push_str(&format!(
        "{} packets, {} answers, {} % lost\n",
        ping.sent,
        ping.received,
        per_cent.unwrap_or(0)
    ));
    if let (Some(min), Some(mean), Some(max)) = (ping.rtt_us_min, ping.rtt_us_mean, ping.rtt_us_max)
    {
        text.push_str(&format!(
            "quickest {}, mean {}, slowest {}\n",
            ms(min),
            ms(mean),
            ms(max)
        ));
    }
    text
}

fn traced(trace: &TraceReport) -> String {
    let hop = |hop: &Hop| {
        let times: Vec<String> = hop.rtt_us.iter().map(|rtt_us| ms(*rtt_us)).collect();
        row([
            &hop.ttl.to_string(),
            &hop.address
                .map_or_else(|| "*".to_owned(), |address| address.to_string()),
            &times.join("  "),
            &hop.error.as_deref().map(clean).unwrap_or_default(),
        ])
    };
    let mut rows = vec![row(["HOP", "ADDRESS", "ROUND TRIPS", ""])];
    rows.extend(trace.hops.iter().map(hop));
    let end = match trace.reached {
        true => format!("{} is reached.\n", trace.address),
        false => format!("{} is not reached.\n", trace.address),
    };
    table(&rows) + &end
}

fn resolved(resolve: &ResolveReport) -> String {
    let mut text = String::new();
    for record in &resolve.records {
        text.push_str(&format!(
            "{} {} {} {}\n",
            clean(&record.name),
            record.ttl,
            clean(&record.record_type),
            clean(&record.value)
        ));
    }
    let took = resolve
        .took_us
        .map(|took_us| format!(" after {}", ms(took_us)));
    text.push_str(&format!(
        "{}{} from {}{}\n",
        clean(&resolve.code),
        took.unwrap_or_default(),
        resolve.server,
        if resolve.truncated {
            ", cut to fit a datagram"
        } else {
            ""
        }
    ));
    text
}

fn checked(port: &PortReport) -> String {
    let means = match port.state.as_str() {
        "open" => "it takes connections",
        "closed" => "the host refuses connections",
        "filtered" => "nobody answers: a firewall, or no host",
        _ => "there is no way to it",
    };
    format!(
        "{}:{} is {}: {means} ({})\n",
        port.address,
        port.port,
        clean(&port.state),
        ms(port.took_us)
    )
}

fn measured(path: &MtuReport) -> String {
    let Some(mtu) = path.mtu else {
        return format!(
            "{} does not answer: nothing is known of its way.\n",
            path.address
        );
    };
    let mut text = format!(
        "{} is reached by packets of up to {mtu} octets.\n",
        path.address
    );
    if let Some(by) = path.narrowed_by {
        text.push_str(&format!(
            "{by} says that longer ones do not fit its next link.\n"
        ));
    }
    if path.silent {
        text.push_str("Longer ones vanish without a word, and connections may hang for it.\n");
    }
    text
}

fn ms(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
}
