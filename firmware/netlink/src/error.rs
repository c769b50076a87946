//! What can go wrong between us and the kernel.

use std::io;

use lintel_wire::nl::{Ack, Malformed, WriteError};
use nix::errno::Errno;

/// A netlink dialogue failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// A system call on the socket failed.
    #[error("{what}")]
    Socket {
        /// What was attempted.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The request could not be built.
    #[error("building the request")]
    Write(#[from] WriteError),
    /// The kernel's answer could not be read.
    #[error("reading the kernel's answer")]
    Malformed(#[from] Malformed),
    /// The kernel refused the request.
    #[error("{0}")]
    Refused(Refusal),
    /// The kernel said nothing about the request.
    #[error("the kernel did not answer")]
    NoAnswer,
    /// Somebody kept changing what was dumped; see [`crate::socket::DUMP_TRIES_MAX`].
    #[error("the state changed during every try to read it")]
    Interrupted,
    /// A dump was larger than [`crate::socket::DUMP_BYTES_MAX`].
    #[error("the dump is larger than any this router can hold")]
    DumpTooLarge,
}

/// The kernel's word about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A positive errno.
    pub errno: i32,
    /// The extended-ack text, empty when there was none.
    pub text: String,
    /// What the message was about.
    pub subject: String,
}

impl Refusal {
    /// From the acknowledgement of the message about `subject`.
    #[must_use]
    pub fn new(subject: impl Into<String>, ack: Ack) -> Self {
        Self {
            errno: ack.errno,
            text: ack.text.unwrap_or_default(),
            subject: subject.into(),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errno = Errno::from_raw(self.errno);
        if !self.subject.is_empty() {
            write!(f, "{}: ", self.subject)?;
        }
        write!(f, "{} ({errno:?})", errno.desc())?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

impl NetlinkError {
    /// For `map_err` on a system call.
    pub(crate) fn socket(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Socket { what, source }
    }

    /// The errno behind it, positive; `EIO` where there is none.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Socket { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
            Self::Refused(refusal) => refusal.errno,
            Self::Write(_) => libc::EMSGSIZE,
            Self::Malformed(_) => libc::EBADMSG,
            Self::Interrupted => libc::EINTR,
            Self::DumpTooLarge => libc::E2BIG,
            Self::NoAnswer => libc::EIO,
        }
    }
}
