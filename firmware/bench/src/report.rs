//! From rounds to figures: medians, and ratios of figures of the same round.

use crate::load::Outcome;

/// One server in one round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    /// Exchanges a second under full load.
    pub(crate) a_second: f64,
    /// Processor time an exchange under full load, microseconds.
    pub(crate) cpu_us: f64,
    /// At the moderate rate: the same, and latencies.
    pub(crate) paced_cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// A server over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<Round>,
    pub(crate) rss_kib: u64,
    pub(crate) lost: u64,
    pub(crate) wrong: Option<String>,
}

impl Line {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Notes what was lost or wrong; an outcome without a right answer is wrong too.
    pub(crate) fn judge(&mut self, outcome: &Outcome) {
        self.lost += outcome.lost;
        if outcome.wrong > 0 {
            let first = outcome.first_wrong.clone().unwrap_or_default();
            self.wrong.get_or_insert(format!(
                "{} wrong answers, the first: {first}",
                outcome.wrong
            ));
        }
        if outcome.done == 0 {
            self.wrong.get_or_insert("no answer".to_owned());
        }
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of))
    }
}

/// Prints the table and the ratios; the first line is ours. False when somebody answered wrongly.
pub(crate) fn print(unit: &str, rate: u32, lines: &[Line]) -> bool {
    println!(
        "{:<12} {:>12} {:>14} {:>14} {:>10} {:>10} {:>9} {:>6}",
        "",
        format!("{unit}/s"),
        "us CPU each",
        "us CPU, paced",
        "p50 us",
        "p99 us",
        "RSS MiB",
        "lost"
    );
    for line in lines {
        println!(
            "{:<12} {:>12.0} {:>14.2} {:>14.2} {:>10.0} {:>10.0} {:>9.1} {:>6}",
            line.name,
            line.median(|round| round.a_second),
            line.median(|round| round.cpu_us),
            line.median(|round| round.paced_cpu_us),
            line.median(|round| round.p50_us),
            line.median(|round| round.p99_us),
            line.rss_kib as f64 / 1024.0,
            line.lost,
        );
    }
    println!(
        "paced: {rate} {unit} a second; medians of {} rounds",
        lines.first().map_or(0, |line| line.rounds.len())
    );
    let Some((ours, theirs)) = lines.split_first() else {
        return true;
    };
    for line in lines {
        if let Some(why) = &line.wrong {
            println!("{}: {why}", line.name);
        }
    }
    for other in theirs {
        if ours.wrong.is_some() || other.wrong.is_some() {
            println!(
                "{} beside {}: no ratio, since an answer was wrong",
                ours.name, other.name
            );
            continue;
        }
        let ratio = |of: &dyn Fn(&Round) -> f64| {
            let pairs = ours.rounds.iter().zip(&other.rounds);
            median(pairs.map(|(ours, other)| of(other) / of(ours)))
        };
        println!(
            "{} beside {}: {:.2} x its {unit} a second, {:.2} x its {unit} for the same CPU ({:.2} x paced), p50 {:.2} x, p99 {:.2} x shorter",
            ours.name,
            other.name,
            1.0 / ratio(&|round| round.a_second),
            ratio(&|round| round.cpu_us),
            ratio(&|round| round.paced_cpu_us),
            ratio(&|round| round.p50_us),
            ratio(&|round| round.p99_us),
        );
    }
    lines.iter().all(|line| line.wrong.is_none())
}

/// The middle one; of an even number the lower of both.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &'static str, a_second: f64) -> Line {
        let round = Round {
            a_second,
            ..Round::default()
        };
        Line {
            name,
            rounds: vec![round],
            ..Line::default()
        }
    }

    #[test]
    fn a_wrong_answer_fails_the_report() {
        let mut lines = [line("ours", 2.0), line("theirs", 1.0)];
        assert!(print("answers", 1, &lines));
        lines[1].judge(&Outcome {
            done: 10,
            wrong: 1,
            ..Outcome::default()
        });
        assert!(!print("answers", 1, &lines));
    }

    #[test]
    fn silence_is_wrong() {
        let mut silent = line("silent", 0.0);
        silent.judge(&Outcome::default());
        assert_eq!(silent.wrong.as_deref(), Some("no answer"));
    }

    #[test]
    fn the_middle_is_not_moved_by_an_outlier() {
        assert_eq!(median([3.0, 1000.0, 1.0].into_iter()), 3.0);
    }
}
