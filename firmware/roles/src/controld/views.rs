//! What is shown: the machine's state in the words of the API.

use std::net::Ipv4Addr;

use lintel_api::types::{
    ConfigStatus, DnsRecord, Interface, KernelStatus, LanStatus, Lease, LeaseCounts, Memory,
    NetworkInfo, Page, PageParams, PortStatus, Service, Status, SystemInfo, WanStatus,
};
use lintel_ipc::call::Problem;
use lintel_ipc::init::ServiceState;
use lintel_model::LinkName;
use lintel_model::desired::LAN_BRIDGE;
use lintel_model::facts::{Notice, NoticeCode, Severity};
use lintel_model::services::WanSpec;

use super::config_calls::{bad_cursor, page_limit};
use super::core::{Core, Now};
use super::leases::is_live;

impl Core {
    pub(super) fn status(&self, now: Now, memory: Option<Memory>) -> Status {
        Status {
            system: self.system_info(now, memory),
            data: self.facts.data.clone(),
            wan: self.wan_status(),
            lan: self.lan_status(),
            leases: self.lease_counts(now),
            services: self.service_list(),
            config: ConfigStatus {
                revision: self.active.revision,
                author: self.active.author.clone(),
                applying: self
                    .pending_apply
                    .as_ref()
                    .and_then(|pending| pending.answer.revision),
                pending: self.pending_confirm(now),
                fail_secure: self.active.fail_secure,
            },
            kernel: self.kernel_status(),
            notices: self.notices(),
        }
    }

    pub(super) fn system_info(&self, now: Now, memory: Option<Memory>) -> SystemInfo {
        SystemInfo {
            hostname: self.active.config.system.hostname.to_string(),
            version: self.start.version.clone(),
            board: self.start.board.name.clone(),
            board_title: self.start.board.title.clone(),
            boot_id: self.start.boot_id.clone(),
            uptime_s: now.mono.as_secs(),
            clock: self.clock_status(now),
            memory,
            run: self.facts.run,
            tls_sha256: self.tls_sha256(),
        }
    }

    pub(super) fn network_info(&self) -> NetworkInfo {
        NetworkInfo {
            wan: self.wan_status(),
            lan: self.lan_status(),
            kernel: self.kernel_status(),
        }
    }

    pub(super) fn interfaces(&self) -> Vec<Interface> {
        let wan = self.wan_link();
        let addresses = self.observed.iter().flat_map(|o| &o.addresses);
        let addresses: Vec<_> = addresses.collect();
        let lan = |link: &LinkName, master: Option<&LinkName>| {
            link.as_str() == LAN_BRIDGE || master.is_some_and(|m| m.as_str() == LAN_BRIDGE)
        };
        self.facts
            .links
            .iter()
            .map(|link| Interface {
                addresses: addresses
                    .iter()
                    .filter(|address| address.link == link.name)
                    .map(|address| address.address.to_string())
                    .collect(),
                role: if wan == Some(&link.name) {
                    Some("wan".to_owned())
                } else if lan(&link.name, link.master.as_ref()) {
                    Some("lan".to_owned())
                } else {
                    None
                },
                link: link.clone(),
            })
            .collect()
    }

    fn wan_link(&self) -> Option<&LinkName> {
        match &self.resolved.wan {
            WanSpec::Dhcp { link, .. } => Some(&link.name),
            WanSpec::Off | WanSpec::Detect { .. } => None,
        }
    }

    fn wan_status(&self) -> WanStatus {
        let link = self.wan_link();
        let carrier = link
            .and_then(|name| self.facts.links.iter().find(|l| l.name == *name))
            .is_some_and(|status| status.carrier);
        let lease = link.and_then(|name| {
            let lease = self.facts.wan_lease.as_ref();
            lease.filter(|lease| lease.link == *name)
        });
        let told = self
            .wan_state
            .as_ref()
            .filter(|(told, _, _)| Some(told) == link);
        let (mode, text) = match (&self.resolved.wan, told) {
            (WanSpec::Off, _) => ("off", "The box serves the household's network alone."),
            (WanSpec::Detect { .. }, _) => (
                "detect",
                "Looking for the port on which the provider answers.",
            ),
            (WanSpec::Dhcp { .. }, Some((_, _, text))) => ("dhcp", text.as_str()),
            (WanSpec::Dhcp { .. }, None) if lease.is_some() => {
                ("dhcp", "The provider's lease is in use.")
            }
            (WanSpec::Dhcp { .. }, None) => ("dhcp", "Asking the provider for an address."),
        };
        WanStatus {
            mode: mode.to_owned(),
            link: link.cloned(),
            carrier,
            online: carrier && lease.is_some_and(|lease| lease.router.is_some()),
            state: told.map(|(_, state, _)| state.clone()),
            text: text.to_owned(),
            lease: lease.cloned(),
            dropped: self.wan_dropped.clone(),
        }
    }

    fn lan_status(&self) -> LanStatus {
        let config = &self.active.config.lan;
        let bridge = self
            .facts
            .links
            .iter()
            .find(|l| l.name.as_str() == LAN_BRIDGE);
        let ports = self
            .facts
            .links
            .iter()
            .filter(|l| l.master.as_ref().is_some_and(|m| m.as_str() == LAN_BRIDGE));
        LanStatus {
            address: config.address,
            domain: config.domain.to_string(),
            link: bridge.map(|link| link.name.clone()),
            ports: ports
                .map(|port| PortStatus {
                    link: port.name.clone(),
                    carrier: port.carrier,
                })
                .collect(),
        }
    }

    fn kernel_status(&self) -> KernelStatus {
        KernelStatus {
            converged: self.converge.is_settled(),
            writes: self.kernel_writes,
            error: self.step_error.clone(),
            foreign: self
                .observed
                .as_ref()
                .map(|observed| observed.foreign.clone())
                .unwrap_or_default(),
        }
    }

    fn lease_counts(&self, now: Now) -> LeaseCounts {
        let live = self
            .bindings
            .values()
            .filter(|binding| is_live(binding, now.unix_s))
            .count();
        let pool = self.resolved.dhcp.subnets.iter().map(|subnet| {
            u32::from(subnet.last)
                .saturating_sub(u32::from(subnet.first))
                .saturating_add(1)
        });
        LeaseCounts {
            active: u32::try_from(live).unwrap_or(u32::MAX),
            pool: pool.sum(),
            reserved: u32::try_from(self.active.config.dhcp.reservations.len()).unwrap_or(u32::MAX),
            dropped: self.dhcp_dropped.clone(),
        }
    }

    pub(super) fn service_list(&self) -> Vec<Service> {
        let list = self.services.iter().flat_map(|(_, list)| list);
        list.map(|service| Service {
            name: service.name,
            state: state_word(service.state).to_owned(),
            pid: service.pid,
            ready_ms: service.ready_ms,
            restarts: service.restarts,
            pss_kib: service.pss_kib,
            last_exit: service.last_exit.clone(),
        })
        .collect()
    }

    /// The planner's notices and ours, worst first, each code of ours once.
    pub(super) fn notices(&self) -> Vec<Notice> {
        // Before the first look at the kernel every port seems to be missing.
        let planned = self.observed.iter().flat_map(|_| &self.resolved.notices);
        let mut notices: Vec<Notice> = planned.chain(self.own_notices.values()).cloned().collect();
        let foreign = self.observed.as_ref().map_or(0, |o| o.foreign.len());
        if foreign > 0 {
            notices.push(Notice {
                code: NoticeCode::Foreign,
                severity: Severity::Info,
                text: format!("{foreign} network objects of other programs stand beside ours; they are left alone."),
                link: None,
            });
        }
        notices.sort_by_key(|notice| std::cmp::Reverse(notice.severity));
        notices
    }

    pub(super) fn leases(&self, now: Now, params: &PageParams) -> Result<Page<Lease>, Problem> {
        let after: Option<Ipv4Addr> = match &params.cursor {
            None => None,
            Some(cursor) => Some(cursor.parse().map_err(|_| bad_cursor())?),
        };
        let limit = usize::try_from(page_limit(params)).unwrap_or(usize::MAX);
        let reservations = &self.active.config.dhcp.reservations;
        let mut rest = self
            .bindings
            .values()
            .filter(|binding| after.is_none_or(|after| binding.address > after));
        let items: Vec<Lease> = rest
            .by_ref()
            .take(limit)
            .map(|binding| {
                let reservation = reservations
                    .iter()
                    .find(|r| r.address == binding.address && r.mac == binding.mac);
                Lease {
                    ip: binding.address,
                    mac: binding.mac,
                    name: reservation
                        .and_then(|r| r.name.as_ref().map(ToString::to_string))
                        .or_else(|| binding.host_name.clone()),
                    state: binding.state,
                    bound_unix_s: binding.bound_unix_s,
                    expires_unix_s: binding.expires_unix_s,
                    expired: binding.expires_unix_s <= now.unix_s,
                    reserved: reservation.is_some(),
                }
            })
            .collect();
        let more = rest.next().is_some();
        let next = items
            .last()
            .filter(|_| more)
            .map(|lease| lease.ip.to_string());
        Ok(Page { items, next })
    }

    pub(super) fn records(&self, params: &PageParams) -> Result<Page<DnsRecord>, Problem> {
        let dns = &self.resolved.dns;
        let domain = self.active.config.lan.domain.as_str();
        let hosts = |source: &'static str| {
            move |host: &lintel_model::services::HostRecord| DnsRecord {
                name: format!("{}.{domain}", host.name),
                rtype: if host.address.is_ipv4() { "A" } else { "AAAA" }.to_owned(),
                value: host.address.to_string(),
                ttl: None,
                source: source.to_owned(),
            }
        };
        let all: Vec<DnsRecord> = dns
            .own
            .iter()
            .map(hosts("box"))
            .chain(dns.records.iter().map(|record| DnsRecord {
                name: record.name.to_string(),
                rtype: format!("{:?}", record.rtype),
                value: record.value.clone(),
                ttl: Some(record.ttl),
                source: "config".to_owned(),
            }))
            .chain(dns.hosts.iter().map(hosts("lease")))
            .collect();
        let from: usize = match &params.cursor {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
        };
        let limit = usize::try_from(page_limit(params)).unwrap_or(usize::MAX);
        let end = from.saturating_add(limit);
        let next = (end < all.len()).then(|| end.to_string());
        let items = all.into_iter().skip(from).take(limit).collect();
        Ok(Page { items, next })
    }
}

/// A role's state in the words of the API.
pub(super) fn state_word(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Starting => "starting",
        ServiceState::Ready => "ready",
        ServiceState::Stopping => "stopping",
        ServiceState::BackingOff => "backing-off",
        ServiceState::Stopped => "stopped",
    }
}
