//! A plan as people read it: in the log, before a change is made, and in golden files.

use std::fmt::{self, Write as _};

use crate::nft::{Edit, Transaction};
use crate::step::{Action, Hazard, Plan, Step};

impl Plan {
    /// One numbered line per step, its reason below it, and what it may cut.
    pub fn to_text(&self) -> String {
        if self.is_empty() {
            return "Nothing to do.\n".to_owned();
        }
        let mut text = String::new();
        for (index, step) in self.steps.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:2}. {step}", index + 1);
        }
        text
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    {}", self.action, self.reason)?;
        match self.hazard {
            Hazard::None => Ok(()),
            Hazard::CutsFlows => f.write_str("\n    ! May cut connections."),
            Hazard::CutsManagement => {
                f.write_str("\n    ! May cut connections, also the one to this box.")
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateBridge { name, mac } => {
                write!(f, "Make the bridge {name}")?;
                mac.map_or(Ok(()), |mac| write!(f, " with hardware address {mac}"))
            }
            Self::DeleteLink { name } => write!(f, "Delete the link {name}"),
            Self::SetLink {
                name,
                up,
                master,
                mtu,
                mac,
            } => {
                write!(f, "Set {name}:")?;
                let mut words = Vec::new();
                match master {
                    Some(Some(master)) => words.push(format!("port of {master}")),
                    Some(None) => words.push("port of no bridge".to_owned()),
                    None => {}
                }
                words.extend(mac.map(|mac| format!("hardware address {mac}")));
                words.extend(mtu.map(|mtu| format!("MTU {mtu}")));
                words.extend(up.map(|up| if up { "up" } else { "down" }.to_owned()));
                write!(f, " {}", words.join(", "))
            }
            Self::AddAddress(spec) => write!(f, "Add {} to {}", spec.address, spec.link),
            Self::DeleteAddress(spec) => write!(f, "Take {} off {}", spec.address, spec.link),
            Self::ReplaceRoute(route) => write!(f, "Route {route}"),
            Self::DeleteRoute(route) => write!(f, "Remove the route {route}"),
            Self::SetSysctl(spec) => write!(f, "Set {} to {}", spec.path, spec.value),
            Self::Nft(transaction) => write!(f, "{transaction}"),
            Self::OpenSocket(spec) => write!(f, "Open a {} socket on {}", spec.kind, spec.link),
            Self::CloseSocket(spec) => write!(f, "Close the {} socket on {}", spec.kind, spec.link),
        }
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReplaceTable(table) => {
                let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
                write!(
                    f,
                    "Load the firewall: {} chains, {rules} rules, {} sets",
                    table.chains.len(),
                    table.sets.len()
                )
            }
            Self::Edit(edits) => {
                f.write_str("Edit the firewall: ")?;
                let words: Vec<String> = edits.iter().map(Edit::to_string).collect();
                f.write_str(&words.join("; "))
            }
            Self::DeleteTable => f.write_str("Remove the firewall"),
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddSet(set) => write!(f, "new set {}", set.name),
            Self::DeleteSet { name } => write!(f, "set {name} goes"),
            Self::AddElements { set, elements } => {
                write!(f, "{} more in {}", elements.len(), set.name)
            }
            Self::DeleteElements { set, elements } => {
                write!(f, "{} fewer in {}", elements.len(), set.name)
            }
            Self::AddChain { name, .. } => write!(f, "new chain {name}"),
            Self::DeleteChain { name } => write!(f, "chain {name} goes"),
            Self::ReplaceRules { chain, rules } => {
                write!(f, "{} rules for chain {chain}", rules.len())
            }
        }
    }
}
