//! Services and their logs.

use lintel_api::types::{LOG_LINES_MAX, LogEntry};
use lintel_model::RoleName;
use minijinja::context;
use serde_json::json;

use super::{Done, Form, Stop, Visit, field, shown};
use crate::webd::app::problem;
use crate::webd::app::view::upkeep::{LogRow, ServiceRow};

/// From the worst down.
const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

impl Visit<'_> {
    pub(super) fn services(&self) -> Done {
        let auth = self.owner()?;
        let status = self.status()?;
        let services: Vec<_> = status.services.iter().map(ServiceRow::new).collect();
        let values = context! { services => shown(&services) };
        self.page(200, "services.html", &auth, values)
    }

    pub(super) fn restart(&self, form: &Form) -> Done {
        self.owner()?;
        let name = field(form, "restart");
        match self.call("services.restart", json!({ "name": name }))? {
            Ok(_) => Err(Stop::Elsewhere("/services")),
            Err(problem) => Err(problem.into()),
        }
    }

    pub(super) fn logs(&self) -> Done {
        let auth = self.owner()?;
        let asked = |name: &str| self.asked_for(name).unwrap_or_default();
        let (role, level, find) = (asked("role"), asked("level"), asked("find"));
        let role = if role.is_empty() {
            "all"
        } else {
            role.as_str()
        };
        let known = role == "all" || role.parse::<RoleName>().is_ok();
        if !known {
            return Err(problem(404, "unknown-path", "There is no such service", "").into());
        }
        let worst = LEVELS.iter().position(|known| *known == level);
        let worst = worst.unwrap_or(LEVELS.len() - 2);
        let params = json!({ "name": role, "lines": LOG_LINES_MAX });
        let entries: Vec<LogEntry> = self.result("logs.services", params)?;
        let needle = find.trim().to_lowercase();
        let wanted = |entry: &&LogEntry| {
            let at = LEVELS.iter().position(|known| *known == entry.level);
            at.is_none_or(|at| at <= worst) && entry.text.to_lowercase().contains(&needle)
        };
        let lines: Vec<_> = entries
            .iter()
            .rev()
            .filter(wanted)
            .map(LogRow::new)
            .collect();
        let summary = format!(
            "{} of the newest {} lines, the newest first.",
            lines.len(),
            entries.len()
        );
        let roles = [RoleName::Init].into_iter().chain(RoleName::SPAWNED);
        let roles: Vec<_> = roles.map(RoleName::as_str).collect();
        let values = context! {
            role,
            roles,
            level => LEVELS.get(worst).copied(),
            levels => LEVELS.to_vec(),
            find => &find,
            lines => shown(&lines),
            summary,
        };
        self.page(200, "logs.html", &auth, values)
    }
}
