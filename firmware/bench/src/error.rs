//! What can go wrong with a bench.

use std::error::Error;
use std::io;

/// A bench that ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// A socket, a file or a process.
    #[error("{what}")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// A program whose output cannot be read.
    #[error("{program} said what cannot be read: {said}")]
    Output { program: String, said: String },
    /// A server that gave wrong answers, or none.
    #[error("{0}")]
    Wrong(String),
}

impl BenchError {
    /// For `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            what,
            source: source.into(),
        }
    }

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
