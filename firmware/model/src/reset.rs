//! Resets by somebody who stands at the box.

use serde::{Deserialize, Serialize};

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetKind {
    /// The password, the second factor, every session and every token; the rest stays.
    Password,
    /// All that is stored on the box.
    Factory,
}

impl ResetKind {
    /// The word for it on the kernel's command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Factory => "factory",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Password, Self::Factory]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// By what somebody shows that they are at the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetBy {
    /// `lintel.reset=` on the kernel's command line.
    Argument,
    /// The button of the box, held.
    Button,
}

/// A reset that is asked for; a factory reset is done when somebody hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reset {
    /// What is taken away.
    pub kind: ResetKind,
    /// By what it was asked for.
    pub by: ResetBy,
}
