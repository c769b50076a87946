//! Services and their logs.

use lintel_api::types::{LEVELS, LogsFound, Task, TaskBegun, TaskState};
use lintel_model::RoleName;
use minijinja::context;
use serde_json::json;

use super::{Done, Form, Stop, Visit, field, shown};
use crate::webd::app::problem;
use crate::webd::app::view::upkeep::{LogRow, ServiceRow};

/// Lines on one page; more can be looked for, or exported.
const SHOWN_MAX: u32 = 500;

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
        let level = LEVELS.iter().find(|known| **known == level);
        let level = level.copied().unwrap_or("info");
        let params = json!({ "name": role, "level": level, "find": find, "limit": SHOWN_MAX });
        let found: LogsFound = self.result("logs.search", params)?;
        let lines: Vec<_> = found.items.iter().map(LogRow::new).collect();
        let more = if found.next.is_some() {
            "The newest "
        } else {
            ""
        };
        let summary = format!(
            "{more}{} of {} lines in memory, the newest first.",
            lines.len(),
            found.searched
        );
        let roles = [RoleName::Init].into_iter().chain(RoleName::SPAWNED);
        let roles: Vec<_> = roles.map(RoleName::as_str).collect();
        let values = context! {
            role,
            roles,
            level,
            levels => LEVELS.to_vec(),
            find => &find,
            lines => shown(&lines),
            summary,
        };
        self.page(200, "logs.html", &auth, values)
    }

    /// The same lines, and those on the storage, as a file.
    pub(super) fn export_logs(&self, form: &Form) -> Done {
        self.owner()?;
        let text = |name: &str| Some(field(form, name)).filter(|text| !text.is_empty());
        let params = json!({
            "name": text("role"),
            "level": text("level"),
            "find": text("find"),
        });
        let begun: TaskBegun = self.result("logs.export", params)?;
        Err(Stop::Work(begun.task))
    }

    pub(super) fn collect(&self) -> Done {
        self.owner()?;
        let begun: TaskBegun = self.result("support.collect", json!({}))?;
        Err(Stop::Work(begun.task))
    }

    /// How far long work is, and its file when it is done.
    pub(super) fn work(&self) -> Done {
        let auth = self.owner()?;
        let id = self.asked_for("id").and_then(|id| id.parse::<u64>().ok());
        let task: Task = self.result("tasks.show", json!({ "id": id.unwrap_or(0) }))?;
        let running = task.state == TaskState::Running;
        let values = context! {
            id => task.id,
            title => match task.method.as_str() {
                "support.collect" => "A file for support",
                "logs.export" => "The log as a file",
                _ => "Work",
            },
            support => task.method == "support.collect",
            running,
            done => task.done,
            total => task.total,
            text => &task.text,
            failed => matches!(task.state, TaskState::Failed | TaskState::Cancelled),
            file => task.result.as_ref().map(|file| &file.file_name),
            kib => task.result.as_ref().map(|file| file.bytes.div_ceil(1024)),
        };
        self.page(200, "work.html", &auth, values)
    }

    pub(super) fn end_work(&self, form: &Form) -> Done {
        self.owner()?;
        let id = field(form, "id").parse::<u64>().unwrap_or(0);
        match self.call("tasks.cancel", json!({ "id": id }))? {
            Ok(_) => Err(Stop::Work(id)),
            Err(problem) => Err(problem.into()),
        }
    }
}
