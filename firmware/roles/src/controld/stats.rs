//! `system.stats` and `metrics`: the machine's figures, and those that this process counts.

use lintel_api::types::{CpuStats, RoleStats, SystemStats};
use lintel_rt::table::policy;
use serde_json::Value;

use super::core::{Core, Now, Waiter};
use super::machine::Figures;
use super::tasks::Heard;
use super::views::state_word;

/// For whom the machine is measured.
#[derive(Debug, Clone, Copy)]
pub enum Measure {
    /// `system.stats`.
    Stats(Waiter),
    /// `metrics`.
    Metrics(Waiter),
    /// A step of a task.
    Task(u64),
}

impl Core {
    /// The figures came: answers who asked.
    pub(super) fn measured(&mut self, now: Now, measure: Measure, figures: Figures) {
        match measure {
            Measure::Task(id) => self.task_heard(now, id, Heard::Figures(figures)),
            Measure::Stats(waiter) => {
                let stats = self.stats(now, figures);
                self.reply_value(waiter, &stats);
            }
            Measure::Metrics(waiter) => {
                let stats = self.stats(now, figures);
                let text = self.metrics(now, &stats);
                self.reply(waiter, Ok(Value::String(text)), None);
            }
        }
    }

    pub(super) fn stats(&mut self, now: Now, figures: Figures) -> SystemStats {
        let cpu = figures.cpu.map(|cpu| CpuStats {
            busy_percent: busy_percent(self.cpu_before, cpu),
            ..cpu
        });
        self.cpu_before = cpu.or(self.cpu_before);
        let services = self.services.iter().flat_map(|(_, list)| list);
        let roles = services.map(|service| RoleStats {
            name: service.name,
            state: state_word(service.state).to_owned(),
            restarts: service.restarts,
            cpu_ms: service.cpu_ms,
            pss_kib: service.pss_kib,
            memory_kib_max: policy(service.name).map(|p| p.limits.memory_bytes_max >> 10),
        });
        SystemStats {
            unix_s: now.unix_s,
            uptime_s: now.mono.as_secs(),
            cpu,
            load: figures.load,
            memory: figures.memory,
            disk: figures.disk,
            temperatures: figures.temperatures,
            roles: roles.collect(),
        }
    }
}

/// Between two moments, or since boot; rounded to a tenth.
fn busy_percent(before: Option<CpuStats>, now: CpuStats) -> f64 {
    let before = before.unwrap_or_default();
    let busy = now.busy_ms.saturating_sub(before.busy_ms);
    let idle = now.idle_ms.saturating_sub(before.idle_ms);
    let all = busy.saturating_add(idle);
    if all == 0 {
        return before.busy_percent;
    }
    (busy as f64 * 1000.0 / all as f64).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cent_are_of_the_time_between_two_moments() {
        let at = |busy_ms, idle_ms, busy_percent| CpuStats {
            cores: 1,
            busy_ms,
            idle_ms,
            busy_percent,
        };
        let first = at(100, 900, 0.0);
        assert_eq!(busy_percent(None, first), 10.0);
        assert_eq!(busy_percent(Some(first), at(150, 950, 0.0)), 50.0);
        // No time has passed: what was said still holds.
        let again = at(100, 900, 10.0);
        assert_eq!(busy_percent(Some(again), again), 10.0);
    }
}
