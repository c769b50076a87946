//! Long work: begun by one call, done a step at a time between what else there is to do, and shown
//! and ended by other calls.
//!
//! ```text
//!               More, after a pause            Ask, Measure: until the answer
//!   begin ──► running ◄────────────► (a step) ◄────────────► waiting
//!                │ Done, Failed, cancel
//!                ▼
//!              ended ──► its file is forgotten after ten minutes
//! ```
//!
//! A step is short: leases and changes wait for one at most. Tasks end with the process: nothing of
//! them is stored.

use std::collections::VecDeque;

use data_encoding::BASE64;
use embassy_time::{Duration, Instant};
use lintel_api::types::{Event, Task, TaskBegun, TaskFile, TaskParams, TaskResult, TaskState};
use lintel_ipc::call::Problem;
use lintel_ipc::init::{InitReply, InitRequest};
use lintel_ipc::wand::ToWand;
use lintel_model::probe::{ProbeNews, ProbeReport};

use super::calls::problem;
use super::core::{Core, InitUse, Now, Output};
use super::log_export::LogExport;
use super::machine::Figures;
use super::network_tests::NetworkTest;
use super::stats::Measure;
use super::support::Support;

/// Tasks at work at once; each holds a few megabytes while it is.
const RUNNING_MAX: usize = 2;
/// Tasks that are shown, those at work among them.
const TASKS_MAX: usize = 16;
/// Largest file that a task makes, octets; in letters it is still below what webd answers.
pub(super) const FILE_BYTES_MAX: usize = 2 << 20;
/// All files together, octets; the oldest goes first.
const FILES_BYTES_MAX: usize = 4 << 20;
/// How long a file is kept.
const FILE_KEPT: Duration = Duration::from_secs(600);
/// Between two steps: others have their turn.
const STEP_PAUSE: Duration = Duration::from_millis(2);
/// Between two events about the same task.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Longest that a task may take: whatever it waits for will not come any more.
const TASK_TIME_MAX: Duration = Duration::from_secs(120);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Work {
    Export(Box<LogExport>),
    Support(Box<Support>),
    Network(Box<NetworkTest>),
}

/// What a step hears of what the last one asked for.
#[derive(Debug)]
pub(super) enum Heard {
    Nothing,
    Init(InitReply),
    Figures(Figures),
    /// `None`: wand is gone.
    Probe(Option<Box<ProbeNews>>),
}

/// What a step came to.
#[derive(Debug)]
pub(super) enum Step {
    /// There is more to do.
    More,
    /// init is asked; the next step hears the answer.
    Ask(InitRequest),
    /// The machine is measured; the next step hears the figures.
    Measure,
    /// Somebody will tell more; the next step hears it.
    Wait,
    /// It ends well, and this came of it.
    Told(String),
    /// It ends well, with a file.
    Done { file_name: String, content: Vec<u8> },
    /// It ends, and this is why.
    Failed(String),
}

/// How far work is: parts done, parts there are, and what it does.
pub(super) type Progress = (u64, u64, String);

/// Every task there is.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// The oldest first.
    list: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    task: Task,
    /// `None` when it ended, and while it makes its step.
    work: Option<Work>,
    /// When the next step is due; `None` while it waits for an answer.
    due: Option<Instant>,
    until: Instant,
    file: Option<Vec<u8>>,
    tell_at: Instant,
}

impl Tasks {
    /// When [`Core::run_tasks`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let running = |entry: &&Entry| entry.task.state == TaskState::Running;
        let steps = self.list.iter().filter(running).filter_map(|e| e.due);
        let kept = |entry: &&Entry| entry.task.state == TaskState::Running || entry.file.is_some();
        let ends = self.list.iter().filter(kept).map(|entry| entry.until);
        steps.chain(ends).min()
    }

    fn get(&mut self, id: u64) -> Option<&mut Entry> {
        self.list.iter_mut().find(|entry| entry.task.id == id)
    }

    /// The test of the network at work: the task's number, and wand's.
    pub(super) fn network_test(&self) -> Option<(u64, u64)> {
        self.list.iter().find_map(|entry| match &entry.work {
            Some(Work::Network(test)) => Some((entry.task.id, test.id)),
            _ => None,
        })
    }

    fn running(&self) -> usize {
        let running = |entry: &&Entry| entry.task.state == TaskState::Running;
        self.list.iter().filter(running).count()
    }

    /// Room for one more task, and for the file of the newest.
    fn make_room(&mut self) {
        while self.list.len() >= TASKS_MAX {
            let ended = |entry: &Entry| entry.task.state != TaskState::Running;
            match self.list.iter().position(ended) {
                Some(at) => drop(self.list.remove(at)),
                None => return,
            }
        }
    }

    fn bound_files(&mut self) {
        let mut bytes = 0;
        for entry in self.list.iter_mut().rev() {
            bytes += entry.file.as_ref().map_or(0, Vec::len);
            if bytes > FILES_BYTES_MAX {
                entry.forget_file();
            }
        }
    }
}

impl Entry {
    fn forget_file(&mut self) {
        self.file = None;
        self.task.result = None;
    }
}

impl Work {
    fn step(&mut self, core: &mut Core, now: Now, heard: Heard) -> Step {
        match self {
            Self::Export(export) => export.step(heard),
            Self::Support(support) => support.step(core, now, heard),
            Self::Network(test) => test.step(core, heard),
        }
    }

    fn progress(&self) -> Progress {
        match self {
            Self::Export(export) => export.progress(),
            Self::Support(support) => support.progress(),
            Self::Network(test) => test.progress(),
        }
    }

    fn report(&self) -> Option<ProbeReport> {
        match self {
            Self::Network(test) => test.report.clone(),
            Self::Export(_) | Self::Support(_) => None,
        }
    }
}

impl Core {
    pub(super) fn begin_task(
        &mut self,
        now: Now,
        method: &str,
        work: Work,
    ) -> Result<TaskBegun, Problem> {
        if self.tasks.running() >= RUNNING_MAX {
            return Err(problem(
                409,
                "tasks-running",
                "Other long work is being done",
                "Wait for it, or end it: lintel tasks shows what there is.",
            ));
        }
        self.tasks.make_room();
        let id = self.event_number(now);
        let (done, total, text) = work.progress();
        self.tasks.list.push_back(Entry {
            task: Task {
                id,
                method: method.to_owned(),
                state: TaskState::Running,
                done,
                total,
                text,
                begun_unix_s: now.unix_s,
                ended_unix_s: None,
                report: None,
                result: None,
            },
            work: Some(work),
            due: Some(now.mono),
            until: now.mono + TASK_TIME_MAX,
            file: None,
            tell_at: now.mono + TELL_EVERY,
        });
        self.tell_task(now, id);
        Ok(TaskBegun { task: id })
    }

    /// Makes the steps that are due, one of each task, and forgets old files.
    pub(super) fn run_tasks(&mut self, now: Now) {
        let due: Vec<u64> = self
            .tasks
            .list
            .iter()
            .filter(|entry| entry.due.is_some_and(|due| due <= now.mono))
            .map(|entry| entry.task.id)
            .collect();
        for id in due {
            self.step_task(now, id, Heard::Nothing);
        }
        let over = |entry: &&mut Entry| entry.until <= now.mono;
        let mut late = Vec::new();
        for entry in self.tasks.list.iter_mut().filter(over) {
            match entry.task.state {
                TaskState::Running => late.push(entry.task.id),
                _ => entry.forget_file(),
            }
        }
        for id in late {
            let why = "It took too long.".to_owned();
            self.end_task(now, id, TaskState::Failed, why);
        }
    }

    /// What a step asked for is there.
    pub(super) fn task_heard(&mut self, now: Now, id: u64, heard: Heard) {
        self.step_task(now, id, heard);
    }

    fn step_task(&mut self, now: Now, id: u64, heard: Heard) {
        let Some(mut work) = self.tasks.get(id).and_then(|entry| entry.work.take()) else {
            return;
        };
        let mut step = work.step(self, now, heard);
        if let Step::Ask(request) = &step
            && !self.ask_init(now, request.clone(), InitUse::Task(id))
        {
            step = Step::Failed("The supervisor has too much to do.".to_owned());
        }
        if matches!(step, Step::Measure) {
            self.say(Output::Measure(Measure::Task(id)));
        }
        let (done, total, text) = work.progress();
        let Some(entry) = self.tasks.get(id) else {
            return;
        };
        entry.task.total = total.max(done);
        entry.task.done = done;
        entry.task.text = text;
        entry.task.report = work.report();
        entry.due = None;
        match step {
            Step::More => entry.due = Some(now.mono + STEP_PAUSE),
            Step::Ask(_) | Step::Measure | Step::Wait => {}
            Step::Told(text) => {
                entry.task.done = entry.task.total;
                return self.end_task(now, id, TaskState::Done, text);
            }
            Step::Failed(why) => return self.end_task(now, id, TaskState::Failed, why),
            Step::Done { file_name, content } => {
                entry.task.done = entry.task.total;
                entry.task.result = Some(TaskFile {
                    file_name,
                    bytes: content.len() as u64,
                });
                entry.file = Some(content);
                return self.end_task(now, id, TaskState::Done, "Done.".to_owned());
            }
        }
        entry.work = Some(work);
        if entry.tell_at <= now.mono {
            entry.tell_at = now.mono + TELL_EVERY;
            self.tell_task(now, id);
        }
    }

    fn end_task(&mut self, now: Now, id: u64, state: TaskState, text: String) {
        let Some(entry) = self.tasks.get(id) else {
            return;
        };
        entry.task.state = state;
        entry.task.text = text;
        entry.task.ended_unix_s = Some(now.unix_s);
        let work = entry.work.take();
        entry.due = None;
        entry.until = now.mono + FILE_KEPT;
        log::info!("task {id}, {}: {}", entry.task.method, state.as_str());
        self.tasks.bound_files();
        if let Some(Work::Network(test)) = work {
            self.say(Output::Wand(ToWand::EndProbe { id: test.id }));
        }
        self.tell_task(now, id);
    }

    fn tell_task(&mut self, now: Now, id: u64) {
        let Some(task) = self.tasks.get(id).map(|entry| entry.task.clone()) else {
            return;
        };
        let event = Event::TaskState {
            task: id,
            method: task.method,
            state: task.state,
            done: task.done,
            total: task.total,
            text: task.text,
        };
        self.tell(now, event);
    }

    /// The newest first.
    pub(super) fn task_list(&self) -> Vec<Task> {
        let tasks = self.tasks.list.iter().rev();
        tasks.map(|entry| entry.task.clone()).collect()
    }

    pub(super) fn task_shown(&mut self, params: &TaskParams) -> Result<Task, Problem> {
        let entry = self.tasks.get(params.id).ok_or_else(no_task)?;
        Ok(entry.task.clone())
    }

    /// Ends one that is at work; of one that ended, forgets what it made.
    pub(super) fn task_cancel(&mut self, now: Now, params: &TaskParams) -> Result<Task, Problem> {
        let entry = self.tasks.get(params.id).ok_or_else(no_task)?;
        match entry.task.state {
            TaskState::Running => {
                let text = "Somebody ended it.".to_owned();
                self.end_task(now, params.id, TaskState::Cancelled, text);
            }
            _ => entry.forget_file(),
        }
        self.task_shown(params)
    }

    pub(super) fn task_result(&mut self, params: &TaskParams) -> Result<TaskResult, Problem> {
        let entry = self.tasks.get(params.id).ok_or_else(no_task)?;
        match (&entry.task.result, &entry.file) {
            (Some(result), Some(file)) => Ok(TaskResult {
                file_name: result.file_name.clone(),
                content_base64: BASE64.encode(file),
            }),
            _ if entry.task.state == TaskState::Running => Err(problem(
                409,
                "task-running",
                "The work is not done yet",
                "lintel tasks shows how far it is.",
            )),
            _ => Err(problem(
                404,
                "no-result",
                "There is no file of it",
                "It made none, or it was forgotten since. Begin anew.",
            )),
        }
    }
}

fn no_task() -> Problem {
    problem(
        404,
        "no-such-task",
        "There is no such task",
        "lintel tasks lists them; they end with the control service.",
    )
}
