//! Collects what the householder should know while a configuration is resolved.

use lintel_model::LinkName;
use lintel_model::facts::{Notice, NoticeCode, Severity};

/// The notices of one resolution, in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Notices(Vec<Notice>);

impl Notices {
    pub(crate) fn add(
        &mut self,
        code: NoticeCode,
        severity: Severity,
        link: Option<&LinkName>,
        text: impl Into<String>,
    ) {
        self.0.push(Notice {
            code,
            severity,
            text: text.into(),
            link: link.cloned(),
        });
    }

    /// The worst first; among equals the order found.
    pub(crate) fn into_vec(mut self) -> Vec<Notice> {
        self.0
            .sort_by_key(|notice| std::cmp::Reverse(notice.severity));
        self.0
    }
}
