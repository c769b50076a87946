//! What the roles are told: a whole snapshot at the start of a session, then what changes.

use embassy_time::{Duration, Instant};
use lintel_api::types::Event;
use lintel_ipc::dhcpd::ToDhcpd;
use lintel_ipc::dnsd::ToDnsd;
use lintel_ipc::wand::ToWand;
use lintel_ipc::webd::ToWebd;
use lintel_model::services::WanSpec;
use lintel_model::{LinkName, RoleName};

use super::core::{Core, Now, Output};

/// How long the search for a WAN port keeps ports out of the LAN. ISC's and dnsmasq's servers
/// wait up to 3 s for an echo before they offer.
const DETECTION: Duration = Duration::from_secs(8);
/// Between two runs of names to dnsd: a thousand devices that come at once after a power cut are a
/// few messages, not a thousand.
const CHANGES_EVERY: Duration = Duration::from_millis(200);

impl Core {
    /// A new session begins with a whole snapshot, as soon as there is one to give.
    pub(super) fn session(&mut self, now: Now, role: RoleName) {
        self.up.insert(role);
        self.told.remove(&role);
        // It is another process than init last told of.
        self.services = None;
        if role == RoleName::Netd {
            self.converge.handle_lost();
            self.observed = None;
            // The look with which netd begins tells which links there are, and so which
            // values to ask for.
            if self.looked {
                self.ask_sysctls(now, self.sysctl_paths());
            }
        }
        if self.looked {
            self.snapshot(now, role);
        }
    }

    pub(super) fn snapshot(&mut self, now: Now, role: RoleName) {
        self.told.insert(role);
        match role {
            RoleName::Wand => {
                self.send_wan();
                self.begin_detection(now);
            }
            RoleName::Dhcpd => {
                let spec = self.resolved.dhcp.clone();
                let bindings = self.bindings.values().cloned().collect();
                let start_unix_s = now.start_unix_s();
                self.say(Output::Dhcpd(ToDhcpd::Snapshot {
                    spec,
                    bindings,
                    start_unix_s,
                }));
            }
            RoleName::Dnsd => {
                self.dns_sent = None;
                self.send_dns(now);
            }
            RoleName::Timed => self.send_ntp(),
            RoleName::Webd => {
                let spec = self.resolved.web.clone();
                self.say(Output::Webd(ToWebd::Spec(spec)));
                self.send_identity();
                self.send_history();
            }
            RoleName::Init | RoleName::Controld | RoleName::Netd => {}
        }
    }

    pub(super) fn session_ended(&mut self, now: Now, role: RoleName) {
        self.up.remove(&role);
        self.told.remove(&role);
        self.services = None;
        match role {
            RoleName::Netd => {
                self.converge.handle_lost();
                self.end_previews(Instant::MAX);
                self.held_until = None;
                self.held_back = false;
            }
            RoleName::Webd => self.streams(0),
            RoleName::Timed => self.clock_lost(now),
            RoleName::Wand => self.probe_told(now, None, None),
            _ => {}
        }
    }

    /// Facts or configuration may have changed: resolves anew and tells whom it concerns.
    pub(super) fn refresh(&mut self, now: Now) {
        let old = std::mem::replace(
            &mut self.resolved,
            lintel_plan::resolve(&self.active.config, &self.facts),
        );
        self.resolved.dns.hosts = self.hosts(now);
        if self.observed.is_some() {
            self.converge
                .set_desired(now.mono, self.resolved.kernel.clone());
            let sysctls = self.sysctl_paths();
            if self.up.contains(&RoleName::Netd) && sysctls != self.sysctls_asked {
                self.ask_sysctls(now, sysctls);
            }
        }
        if old.wan != self.resolved.wan {
            self.send_wan();
            self.begin_detection(now);
            let (mode, link) = way_out(&self.resolved.wan);
            if (mode, link) != way_out(&old.wan) {
                let (mode, link) = (mode.to_owned(), link.cloned());
                self.tell(now, Event::WanChosen { mode, link });
            }
        }
        if old.dhcp != self.resolved.dhcp && self.told.contains(&RoleName::Dhcpd) {
            self.snapshot(now, RoleName::Dhcpd);
        }
        if self.dns_sent.as_ref() != Some(&self.resolved.dns) {
            self.dns_changed(now);
        }
        if old.ntp != self.resolved.ntp && self.told.contains(&RoleName::Timed) {
            self.send_ntp();
        }
        if old.web != self.resolved.web && self.told.contains(&RoleName::Webd) {
            let spec = self.resolved.web.clone();
            self.say(Output::Webd(ToWebd::Spec(spec)));
        }
        self.certify(now);
        if old.notices != self.resolved.notices {
            for notice in &self.resolved.notices {
                if !old.notices.contains(notice) {
                    log::info!("notice: {}", notice.text);
                }
            }
        }
    }

    pub(super) fn send_wan(&mut self) {
        if !self.told.contains(&RoleName::Wand) {
            return;
        }
        let lease = self.facts.wan_lease.clone();
        let lease = match &self.resolved.wan {
            WanSpec::Dhcp { link, .. } => lease.filter(|lease| lease.link == link.name),
            WanSpec::Off | WanSpec::Detect { .. } => None,
        };
        let spec = self.resolved.wan.clone();
        self.say(Output::Wand(ToWand::Spec { spec, lease }));
    }

    pub(super) fn begin_detection(&mut self, now: Now) {
        let searching = matches!(self.resolved.wan, WanSpec::Detect { .. });
        if !searching {
            self.detection_until = None;
        } else if !self.facts.detection_over
            && self.detection_until.is_none()
            && self.told.contains(&RoleName::Wand)
        {
            self.detection_until = Some(now.mono + DETECTION);
        }
    }

    /// Names or records changed: dnsd hears of it, now or with the next run.
    pub(super) fn dns_changed(&mut self, now: Now) {
        match self.dns_last {
            Some(last) if last + CHANGES_EVERY > now.mono => {
                self.dns_due = Some(last + CHANGES_EVERY);
            }
            _ => self.send_dns(now),
        }
    }

    pub(super) fn send_dns(&mut self, now: Now) {
        self.dns_due = self.next_name_end(now);
        self.resolved.dns.hosts = self.hosts(now);
        if self.told.contains(&RoleName::Dnsd) && self.dns_sent.as_ref() != Some(&self.resolved.dns)
        {
            self.dns_last = Some(now.mono);
            self.dns_sent = Some(self.resolved.dns.clone());
            self.say(Output::Dnsd(ToDnsd::Spec(self.resolved.dns.clone())));
        }
    }
}

/// How the way to the internet is found, and its port.
fn way_out(spec: &WanSpec) -> (&'static str, Option<&LinkName>) {
    match spec {
        WanSpec::Off => ("off", None),
        WanSpec::Detect { .. } => ("detect", None),
        WanSpec::Dhcp { link, .. } => ("dhcp", Some(&link.name)),
    }
}
