//! What can go wrong, with what to do about it.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// A chore that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XtaskError {
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// A file or directory.
    #[error("cannot {action} {path}")]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A program that could not be started.
    #[error("cannot start {program}: {hint}")]
    Start {
        program: String,
        hint: &'static str,
        #[source]
        source: io::Error,
    },
    /// A program that failed; its own output stands above.
    #[error("{step} failed ({program} ended with {status})")]
    Failed {
        step: String,
        program: String,
        status: std::process::ExitStatus,
    },
    /// A description of a board that does not hold together.
    #[error("{path}: {reason}")]
    Board { path: PathBuf, reason: String },
    /// The partition table or the file system of the disk image.
    #[error("cannot write the {what} of the disk image")]
    Disk {
        what: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file whose format is not what it should be.
    #[error("{path}: {reason}")]
    Format { path: PathBuf, reason: &'static str },
    /// Something grew over its budget.
    #[error("over budget: {0}")]
    OverBudget(String),
}

impl XtaskError {
    /// The error and its sources on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(inner) = source {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            source = inner.source();
        }
        text
    }
}

/// Wraps an I/O error with what was tried on which path.
pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> XtaskError {
    let path = path.to_owned();
    move |source| XtaskError::File {
        action,
        path,
        source,
    }
}
