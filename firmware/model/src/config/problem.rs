//! What is wrong with a configuration text, where, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Line in the text, from 1; 0 when there is no text.
    pub line: u32,
    /// Column in that line, in characters, from 1; 0 when there is no text.
    pub column: u32,
    /// The value's path (`dhcp.reservations[2].mac`); empty for what no value has.
    pub path: String,
    /// What is wrong, as a sentence without its end.
    pub reason: String,
    /// What to write instead; empty when the reason says it.
    pub hint: String,
}

impl fmt::Display for Problem {
    /// `LINE:COLUMN: PATH: REASON`, and the hint on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)?;
        if !self.hint.is_empty() {
            write!(f, "\n    hint: {}", self.hint)?;
        }
        Ok(())
    }
}

/// The known word that a mistyped one most likely means: at most a third of its letters differ.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, delete, change or swap with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let differs = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[i - 1][j] + 1)
                    .min(rows[i][j - 1] + 1)
                    .min(rows[i - 1][j - 1] + differs);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["hostname", "port", "ports", "kind", "lease_s"];
        assert_eq!(nearest("prot", &known), Some("port"));
        assert_eq!(nearest("hostnmae", &known), Some("hostname"));
        assert_eq!(nearest("lease", &known), Some("lease_s"));
        assert_eq!(nearest("firewall", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
