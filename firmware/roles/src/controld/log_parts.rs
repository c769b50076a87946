//! The files of the log, one after the other, each in parts: init tells no more of one at a time
//! than a message holds.

use lintel_ipc::init::{InitRequest, LogFileStatus};

/// What of the files is still to be read.
#[derive(Debug, Default)]
pub(super) struct LogParts {
    /// The newest first: the next is the last.
    files: Vec<LogFileStatus>,
    offset: u64,
}

impl LogParts {
    pub(super) fn new(files: Vec<LogFileStatus>) -> Self {
        Self { files, offset: 0 }
    }

    /// The file that is being read.
    pub(super) fn file(&self) -> Option<&LogFileStatus> {
        self.files.last()
    }

    /// What to ask init for; `None` when all are read.
    pub(super) fn request(&self) -> Option<InitRequest> {
        let file = self.file()?;
        Some(InitRequest::LogFile {
            name: file.name.clone(),
            offset: self.offset,
        })
    }

    /// A part came, and the next begins there. Whether the file goes on: one whose parts do not
    /// come forward is over.
    pub(super) fn goes_on(&mut self, next: Option<u64>) -> bool {
        let next = next.filter(|next| *next > self.offset);
        self.offset = next.unwrap_or(self.offset);
        next.is_some()
    }

    /// No more of this file: it is read, or was turned over or taken away meanwhile.
    pub(super) fn next_file(&mut self) -> Option<LogFileStatus> {
        self.offset = 0;
        self.files.pop()
    }
}
