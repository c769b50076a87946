//! `services.connectivity`: whether each service does what it is there for, as far as it tells. The
//! order is the way of a question from the household to the world: the first that fails is most
//! often the reason for the others.

use lintel_api::types::SelfTest;
use lintel_model::RoleName;
use lintel_model::facts::{DataState, NoticeCode};
use lintel_model::services::WanSpec;

use super::core::{Core, Now};

impl Core {
    pub(super) fn connectivity(&self, now: Now) -> Vec<SelfTest> {
        [
            self.storage_test(),
            self.kernel_test(),
            self.lan_test(now),
            self.wan_test(now),
            self.names_test(),
            self.time_test(now),
            self.pages_test(),
        ]
        .into()
    }

    fn test(&self, name: RoleName, found: Result<String, String>) -> SelfTest {
        // Who is away does nothing, whatever was last known.
        let away = name != RoleName::Controld && !self.up.contains(&name);
        let found = match found {
            Ok(_) if away => Err("It does not run.".to_owned()),
            found => found,
        };
        SelfTest {
            name,
            ok: found.is_ok(),
            text: found.unwrap_or_else(|why| why),
        }
    }

    fn storage_test(&self) -> SelfTest {
        let full = self.own_notices.get(&NoticeCode::DataFailed);
        let found = match (&self.facts.data, full) {
            (DataState::Failed { reason }, _) => Err(format!("The storage failed: {reason}")),
            (DataState::Good, Some(notice)) => Err(notice.text.clone()),
            (DataState::Good, None) => Ok("What is to be kept is kept.".to_owned()),
        };
        self.test(RoleName::Controld, found)
    }

    fn kernel_test(&self) -> SelfTest {
        let found = match (&self.step_error, self.converge.is_settled()) {
            (_, true) => Ok("The kernel holds what the settings want.".to_owned()),
            (Some(error), false) => Err(error.clone()),
            (None, false) => Err("The kernel does not yet hold what the settings want.".to_owned()),
        };
        self.test(RoleName::Netd, found)
    }

    fn lan_test(&self, now: Now) -> SelfTest {
        let subnets = self.resolved.dhcp.subnets.len();
        let status = self.status(now, None);
        let cable = status.lan.ports.iter().any(|port| port.carrier);
        let found = match (subnets, cable) {
            (0, _) => Err("No network is served.".to_owned()),
            (_, false) => Err("No cable of the household is in any port.".to_owned()),
            (_, true) => Ok(format!(
                "{} of {} addresses are in use.",
                status.leases.active, status.leases.pool
            )),
        };
        self.test(RoleName::Dhcpd, found)
    }

    fn wan_test(&self, now: Now) -> SelfTest {
        let wan = self.status(now, None).wan;
        let found = match &self.resolved.wan {
            WanSpec::Off => Ok(wan.text),
            WanSpec::Detect { .. } => Err(wan.text),
            WanSpec::Dhcp { .. } if !wan.carrier => {
                Err("No cable to the provider is in the port.".to_owned())
            }
            WanSpec::Dhcp { .. } if !wan.online => Err(wan.text),
            WanSpec::Dhcp { .. } => Ok(wan.text),
        };
        self.test(RoleName::Wand, found)
    }

    fn names_test(&self) -> SelfTest {
        let dns = &self.dns_statistics;
        let good = dns.upstreams.iter().filter(|(_, state)| state == "good");
        let found = match (good.count(), dns.upstreams.len()) {
            (_, 0) => Ok("Local names are answered; there is nobody to ask for others.".to_owned()),
            (0, all) => Err(format!("None of {all} resolvers of the world answers.")),
            (good, all) => Ok(format!("{good} of {all} resolvers of the world answer.")),
        };
        self.test(RoleName::Dnsd, found)
    }

    fn time_test(&self, now: Now) -> SelfTest {
        let clock = self.clock_status(now);
        let found = match (clock.synchronised, clock.agreed) {
            (true, true) => Ok(format!("{} sources agree on the time.", clock.sources)),
            (true, false) => Ok("One source tells the time, and none confirms it.".to_owned()),
            (false, _) => Err("No source has told the time yet.".to_owned()),
        };
        self.test(RoleName::Timed, found)
    }

    fn pages_test(&self) -> SelfTest {
        let found = match (self.resolved.web.links.is_empty(), &self.tls) {
            (true, _) => Err("The pages are shown in no network.".to_owned()),
            (false, None) => Err("There is no certificate: HTTP alone is spoken.".to_owned()),
            (false, Some(_)) => Ok("The pages are shown over HTTP and HTTPS.".to_owned()),
        };
        self.test(RoleName::Webd, found)
    }
}
