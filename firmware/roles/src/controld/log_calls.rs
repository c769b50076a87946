//! The log, searched and counted. init holds it; what is asked of it is all that it has, and what
//! fits is found here: PID 1 reads no one's wishes.

use lintel_api::types::{
    FIND_CHARS_MAX, LEVELS, LogCount, LogEntry, LogFile, LogSearchParams, LogStats, LogsFound,
    PageParams, TaskBegun,
};
use lintel_ipc::call::Problem;
use lintel_ipc::init::{InitRequest, LogLine, LogStatistics};
use lintel_model::RoleName;

use super::calls::{Answer, bad_field, entry, role};
use super::config_calls::{bad_cursor, page_limit};
use super::core::{Core, InitUse, Now, Waiter};
use super::log_export::LogExport;
use super::tasks::Work;

/// Which lines are meant.
#[derive(Debug, Clone, Default)]
pub(super) struct LogFilter {
    /// In small letters.
    find: String,
    role: Option<RoleName>,
    /// Place in [`LEVELS`] of the least bad.
    level: usize,
}

/// A search that waits for init.
#[derive(Debug)]
pub(super) struct LogSearch {
    filter: LogFilter,
    limit: usize,
    before: u64,
}

impl LogFilter {
    fn new(params: &LogSearchParams) -> Result<Self, Problem> {
        let find = params.find.as_deref().unwrap_or_default().trim();
        if find.chars().count() > FIND_CHARS_MAX {
            return Err(bad_field(
                "find",
                "it is too long",
                &format!("at most {FIND_CHARS_MAX} characters"),
            ));
        }
        let level = match params.level.as_deref() {
            None => Some(LEVELS.len() - 1),
            Some(word) => LEVELS.iter().position(|level| *level == word),
        };
        Ok(Self {
            find: find.to_lowercase(),
            role: match params.name.as_deref() {
                None | Some("all") => None,
                Some("init") => Some(RoleName::Init),
                Some(name) => Some(role(name)?),
            },
            level: level
                .ok_or_else(|| bad_field("level", "there is no such level", &LEVELS.join(", ")))?,
        })
    }

    /// Whether a line is meant.
    pub(super) fn fits(&self, role: RoleName, level: &str, text: &str) -> bool {
        let at = LEVELS.iter().position(|known| *known == level);
        self.role.is_none_or(|wanted| wanted == role)
            && at.is_none_or(|at| at <= self.level)
            && (self.find.is_empty() || text.to_lowercase().contains(&self.find))
    }
}

/// Everything that init has in memory.
pub(super) fn all_lines() -> InitRequest {
    InitRequest::Logs {
        role: None,
        lines_max: u32::MAX,
    }
}

impl Core {
    pub(super) fn log_search(
        &mut self,
        now: Now,
        waiter: Waiter,
        params: &LogSearchParams,
    ) -> Answer {
        let page = PageParams {
            limit: params.limit,
            cursor: None,
        };
        let search = LogSearch {
            filter: LogFilter::new(params)?,
            limit: usize::try_from(page_limit(&page)).unwrap_or(usize::MAX),
            before: match &params.cursor {
                None => u64::MAX,
                Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
            },
        };
        self.later(now, all_lines(), InitUse::Search(waiter, search))
    }

    pub(super) fn log_export(
        &mut self,
        now: Now,
        params: &LogSearchParams,
    ) -> Result<TaskBegun, Problem> {
        let host = self.active.config.system.hostname.to_string();
        let export = LogExport::new(LogFilter::new(params)?, &host, now.unix_s);
        self.begin_task(now, "logs.export", Work::Export(Box::new(export)))
    }

    pub(super) fn log_found(&mut self, waiter: Waiter, search: &LogSearch, lines: Vec<LogLine>) {
        let searched = lines.len() as u64;
        let mut fits = lines.into_iter().rev().filter(|line| {
            line.seq < search.before && search.filter.fits(line.role, &line.level, &line.text)
        });
        let found: Vec<LogLine> = fits.by_ref().take(search.limit).collect();
        let more = fits.next().is_some();
        let next = found.last().filter(|_| more).map(|l| l.seq.to_string());
        let items: Vec<LogEntry> = found.into_iter().map(entry).collect();
        let found = LogsFound {
            items,
            next,
            searched,
        };
        self.reply_value(waiter, &found);
    }
}

/// In the words of the API.
pub(super) fn shown(statistics: LogStatistics) -> LogStats {
    let said = statistics.said.into_iter();
    let files = statistics.files.into_iter();
    LogStats {
        lines: statistics.lines,
        text_bytes: statistics.text_bytes,
        oldest_unix_ms: statistics.oldest_unix_ms,
        said: said
            .map(|(role, level, lines)| LogCount { role, level, lines })
            .collect(),
        waiting_bytes: statistics.waiting_bytes,
        written_bytes: statistics.written_bytes,
        files: files
            .map(|file| LogFile {
                name: file.name,
                bytes: file.bytes,
            })
            .collect(),
    }
}
