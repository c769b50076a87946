//! The passphrase's work, which takes a second: a thread of the shell's does it, one job at a
//! time, and the loop goes on.
//!
//! A caller who waits longer than [`SEAL_WAIT`] is told so, and the job goes on. The same call made
//! again waits for it, or finds what it brought, which is kept for [`LATE_KEPT`].

use embassy_time::Duration;
use lintel_api::types::{ConfigExported, Memory};
use lintel_ipc::call::Problem;
use lintel_model::backup::BackupError;
use lintel_seal::{OpenError, Sealed, armor};
use serde_json::Value;

use super::auth::sha256;
use super::backups::no_backup;
use super::calls::{Answer, Outcome, problem, to_value};
use super::core::{Core, Now, Output, Waiter};

/// How long a caller waits; webd gives up after 10 s.
const SEAL_WAIT: Duration = Duration::from_secs(8);
/// How long the answer is kept that its caller did not wait for.
const LATE_KEPT: Duration = Duration::from_secs(60);
/// Work of sealing, the logarithm of scrypt's N: the first choice of OWASP's list. Half a second
/// of a PC, four of the slowest board.
pub const SEAL_LOG_N: u8 = 17;
/// Memory that must be there before a job begins: its table twice.
const FREE_KIB_MIN: u64 = 2 * (lintel_seal::scrypt::TABLE_BYTES_MAX as u64) / 1024;

/// What the thread is to do.
pub enum SealJob {
    /// Seal a text.
    Seal {
        /// The text.
        plain: String,
        /// The passphrase.
        passphrase: String,
        /// Salt and keys, unguessable.
        random: Box<[u8; 48]>,
    },
    /// Open a file whose header reads.
    Open {
        /// The file.
        file: Vec<u8>,
        /// The passphrase.
        passphrase: String,
    },
}

/// What came of it.
pub enum SealDone {
    /// The file, in letters.
    Sealed(String),
    /// The plaintext.
    Opened(Result<Vec<u8>, OpenError>),
    /// There was no thread for it.
    NotBegun,
}

impl std::fmt::Debug for SealJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealJob")
    }
}

impl std::fmt::Debug for SealDone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealDone")
    }
}

impl SealJob {
    /// Does it, in about a second.
    pub fn run(self) -> SealDone {
        match self {
            Self::Seal {
                plain,
                passphrase,
                random,
            } => {
                let file = lintel_seal::seal(plain.as_bytes(), &passphrase, SEAL_LOG_N, &random);
                SealDone::Sealed(armor::encode(&file))
            }
            Self::Open { file, passphrase } => {
                let sealed = Sealed::parse(&file);
                SealDone::Opened(sealed.and_then(|sealed| sealed.open(&passphrase)))
            }
        }
    }
}

/// The job that is under way.
#[derive(Debug)]
pub(super) struct Sealing {
    /// Who waits for it, and until when.
    waiter: Option<(Waiter, embassy_time::Instant)>,
    asked: Asked,
    use_: SealUse,
}

/// The answer that its caller did not wait for; the newest alone.
#[derive(Debug)]
pub(super) struct Late {
    asked: Asked,
    answer: Result<Value, Problem>,
    until: embassy_time::Instant,
}

/// By what a call is known when it is made again; no passphrase is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked([u8; 32]);

impl Asked {
    /// Of a call with its parameters.
    pub(super) fn by(parts: &[&str]) -> Self {
        let mut whole = Vec::new();
        for part in parts {
            whole.extend(part.len().to_be_bytes());
            whole.extend(part.as_bytes());
        }
        Self(sha256(&whole))
    }
}

/// What a job is for.
#[derive(Debug)]
pub(super) enum SealUse {
    /// `config.export`, with the file's name.
    Export(String),
    /// `config.import`.
    Import,
}

impl Core {
    /// What the same call began before: its answer, or the wait for it.
    pub(super) fn sealing_again(
        &mut self,
        now: Now,
        waiter: Waiter,
        asked: Asked,
    ) -> Option<Answer> {
        if let Some(late) = self.late_seal.take_if(|late| late.asked == asked) {
            return Some(late.answer.map(Outcome::Now));
        }
        let same = |sealing: &&mut Sealing| sealing.asked == asked && sealing.waiter.is_none();
        let sealing = self.sealing.as_mut().filter(same)?;
        sealing.waiter = Some((waiter, now.mono + SEAL_WAIT));
        Some(Ok(Outcome::Later))
    }

    /// Begins a job, unless one is under way or memory is short.
    pub(super) fn begin_sealing(
        &mut self,
        now: Now,
        waiter: Waiter,
        memory: Option<Memory>,
        (job, asked, use_): (SealJob, Asked, SealUse),
    ) -> Answer {
        let refused = |kind, title, detail| Err(problem(503, kind, title, detail));
        if self.sealing.is_some() {
            return refused(
                "busy",
                "Another file is being sealed or opened",
                "Try again in a few seconds.",
            );
        }
        if memory.is_some_and(|memory| memory.available_kib < FREE_KIB_MIN) {
            return refused(
                "short-of-memory",
                "The box has too little memory free for a passphrase",
                "Nothing was changed. Try again later.",
            );
        }
        self.sealing = Some(Sealing {
            waiter: Some((waiter, now.mono + SEAL_WAIT)),
            asked,
            use_,
        });
        // It would only be in the way of the memory that this one takes.
        self.late_seal = None;
        self.say(Output::Seal(Box::new(job)));
        Ok(Outcome::Later)
    }

    /// The thread is done.
    pub(super) fn sealed(&mut self, now: Now, done: SealDone) {
        let Some(Sealing {
            waiter,
            asked,
            use_,
        }) = self.sealing.take()
        else {
            return;
        };
        let result = match (use_, done) {
            (SealUse::Export(file_name), SealDone::Sealed(content)) => to_value(&ConfigExported {
                file_name,
                sealed: true,
                content,
            }),
            (SealUse::Import, SealDone::Opened(Ok(plain))) => String::from_utf8(plain)
                .map_err(|_| no_backup(&BackupError::NoBackup))
                .and_then(|text| self.import_text(now, &text))
                .and_then(|info| to_value(&info)),
            (SealUse::Import, SealDone::Opened(Err(error))) => Err(cannot_open(error)),
            // One job at a time, so that nothing else than no thread can be the reason.
            _ => Err(problem(
                503,
                "busy",
                "The box has no thread for a passphrase",
                "Nothing was changed. Try again later.",
            )),
        };
        match waiter {
            Some((waiter, _)) => self.reply(waiter, result, None),
            None => {
                self.late_seal = Some(Late {
                    asked,
                    answer: result,
                    until: now.mono + LATE_KEPT,
                });
            }
        }
    }

    /// Answers who has waited long enough; the job goes on.
    pub(super) fn end_seal_wait(&mut self, now: Now) {
        self.late_seal.take_if(|late| late.until <= now.mono);
        let Some(sealing) = &mut self.sealing else {
            return;
        };
        let over = |(_, until): &mut (Waiter, embassy_time::Instant)| *until <= now.mono;
        let Some((waiter, _)) = sealing.waiter.take_if(over) else {
            return;
        };
        let detail = "It goes on. Ask the same again within a minute.";
        let slow = problem(503, "under-way", "The passphrase takes longer", detail);
        self.reply(waiter, Err(slow), None);
    }

    /// When [`Self::end_seal_wait`] is due.
    pub(super) fn seal_deadline(&self) -> Option<embassy_time::Instant> {
        let waiter = self.sealing.as_ref().and_then(|it| it.waiter.as_ref());
        let late = self.late_seal.as_ref().map(|late| late.until);
        [waiter.map(|(_, until)| *until), late]
            .into_iter()
            .flatten()
            .min()
    }
}

/// In a sentence, with what to do.
pub(super) fn cannot_open(error: OpenError) -> Problem {
    let (kind, detail) = match error {
        OpenError::WrongPassphrase => (
            "wrong-passphrase",
            "Nothing was changed. Capitals and blanks count.",
        ),
        OpenError::NotByPassphrase => (
            "not-by-passphrase",
            "Nothing was changed. Seal it with a passphrase: age --passphrase --armor.",
        ),
        OpenError::TooMuchWork { .. } => (
            "too-much-work",
            "Nothing was changed. Files that age and the box itself write open here.",
        ),
        OpenError::Damaged | OpenError::NoAge => (
            "damaged-backup",
            "Nothing was changed. Copy the file anew from where it was kept.",
        ),
    };
    let text = error.to_string();
    let mut letters = text.chars();
    let title = letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect());
    problem(422, kind, &title.unwrap_or(text), detail)
}
