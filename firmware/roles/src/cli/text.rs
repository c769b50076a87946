//! Text for a terminal: columns, wrapped lines, dates, and nothing that moves its cursor.

use std::io::{IsTerminal, stdout};

use lintel_model::date::Date;
use lintel_rt::terminal;
use unicode_width::UnicodeWidthStr;

/// Of the narrowest usual terminal, and of sentences on wider ones.
const COLUMNS: usize = 80;
/// A column of a table is not made narrower for a longer word than this, columns: a MAC address,
/// an IPv6 address in its usual length.
const WORD_COLUMNS_MAX: usize = 24;
/// The least that a value gets where a table has become a list of values.
const VALUE_COLUMNS_MIN: usize = 8;

/// Columns of the terminal that is written to; `None` when it is a file or a pipe, which have no
/// end.
fn columns() -> Option<usize> {
    let stdout = stdout();
    stdout
        .is_terminal()
        .then(|| terminal::size(&stdout).map_or(COLUMNS, |size| size.columns))
}

pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|cell| clean(cell)).collect()
}

pub(super) fn optional<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(dash, |value| value.to_string())
}

pub(super) fn dash() -> String {
    "-".to_owned()
}

/// How to go on where a page ends before the list does.
pub(super) fn more(next: &Option<String>) -> String {
    next.as_ref().map_or_else(String::new, |cursor| {
        format!("There are more: --cursor {}\n", clean(cursor))
    })
}

/// Rows of which the first has the columns' names, as wide as the terminal allows.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    fit(rows, columns())
}

/// Columns as wide as their widest cell, two blanks between, nothing after the last. Where that
/// is too wide, cells are broken at their blanks; where that does not help either, each row
/// becomes a list of values. Nothing is left out.
fn fit(rows: &[Vec<String>], columns_max: Option<usize>) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let of_column = |column: usize, measure: &dyn Fn(&str) -> usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| measure(cell)).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..count).map(|n| of_column(n, &str::width)).collect();
    let gaps = count.saturating_sub(1) * 2;
    if let Some(columns_max) = columns_max {
        let word = |cell: &str| cell.split(' ').map(str::width).max().unwrap_or(0);
        let least: Vec<usize> = (0..count)
            .map(|n| of_column(n, &word).min(WORD_COLUMNS_MAX))
            .collect();
        while widths.iter().sum::<usize>() + gaps > columns_max {
            let widest = (0..count)
                .filter(|n| widths[*n] > least[*n])
                .max_by_key(|n| widths[*n]);
            match widest {
                Some(n) => widths[n] -= 1,
                None => return listed(rows, columns_max),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<Vec<String>> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| broken(cell, *width))
            .collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let mut whole = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let part = cell.get(line).map_or("", String::as_str);
                whole.push_str(part);
                whole.push_str(&" ".repeat(width.saturating_sub(part.width()) + 2));
            }
            text.push_str(whole.trim_end());
            text.push('\n');
        }
    }
    text
}

/// Each row as lines of a column's name and the value.
fn listed(rows: &[Vec<String>], columns_max: usize) -> String {
    let Some((names, rows)) = rows.split_first() else {
        return String::new();
    };
    let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let room = columns_max.saturating_sub(width + 2).max(VALUE_COLUMNS_MIN);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        for (name, cell) in names.iter().zip(row) {
            for (line, part) in broken(cell, room).iter().enumerate() {
                let name = if line == 0 { name.as_str() } else { "" };
                text.push_str(format!("{name:width$}  {part}").trim_end());
                text.push('\n');
            }
        }
    }
    text
}

/// A cell in lines of at most `width` columns, broken at blanks where it has some.
fn broken(cell: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in cell.split(' ') {
        if line.width() + 1 + word.width() <= width && !line.is_empty() {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            line.push(c);
            if line.width() > width && line.chars().count() > 1 {
                line.pop();
                lines.push(std::mem::replace(&mut line, c.to_string()));
            }
        }
    }
    lines.push(line);
    lines
}

/// A line, broken at blanks so that it fits the terminal and at most 80 columns; what follows
/// begins with `hang` blanks.
pub(super) fn wrap(text: &str, hang: usize) -> String {
    wrap_at(text, hang, columns().unwrap_or(COLUMNS).min(COLUMNS))
}

fn wrap_at(text: &str, hang: usize, columns_max: usize) -> String {
    let mut done = String::new();
    let mut line = String::new();
    for (n, word) in text.split(' ').enumerate() {
        let long = line.chars().count() + 1 + word.chars().count() > columns_max;
        if long && line.chars().any(|c| c != ' ') {
            done.push_str(line.trim_end());
            done.push('\n');
            line = " ".repeat(hang);
        } else if n > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    done + line.trim_end() + "\n"
}

/// `3 d 4 h`, the two largest units.
pub(super) fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

/// UTC, as RFC 3339 without the letters. The box keeps no time zones.
pub(crate) fn date(unix_s: u64) -> String {
    Date::of(unix_s).to_string()
}

/// What went wrong with a file or a connection, without the number that only programs read.
pub(super) fn io_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    // How sockets say that their time is over.
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
        return "it took too long".to_owned();
    }
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Without control characters: what devices call themselves must not move a terminal's cursor.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// As [`clean`], but keeps the ends of lines.
pub(super) fn clean_lines(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_spans_read_well() {
        assert_eq!(date(0), "1970-01-01 00:00:00");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(date(1_795_259_484), "2026-11-21 11:11:24");
        assert_eq!(date(4_107_542_399), "2100-02-28 23:59:59");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00");
        assert_eq!(span(59), "59 s");
        assert_eq!(span(3_600), "1 h 0 min");
        assert_eq!(span(90_000), "1 d 1 h");
    }

    #[test]
    fn long_lines_break_between_words() {
        let text = wrap_at(&format!("  1. {}", "word ".repeat(40)), 5, COLUMNS);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS));
        assert!(text.starts_with("  1. word word"), "{text}");
        assert!(text.contains("\n     word"), "{text}");
        assert_eq!(text.split_whitespace().count(), 41);
        assert_eq!(wrap_at("short", 3, COLUMNS), "short\n");
        assert_eq!(
            wrap_at(&"x".repeat(100), 3, COLUMNS),
            "x".repeat(100) + "\n"
        );
    }

    #[test]
    fn tables_line_up_and_hold_no_controls() {
        let text = fit(&[row(["A", "B"]), row(["long\x1b[2J", "x"])], None);
        assert_eq!(text, "A        B\nlong[2J  x\n");
    }

    #[test]
    fn a_table_breaks_cells_before_it_breaks_its_shape() {
        let rows = [
            row(["ADDRESS", "MAC", "NAME"]),
            row([
                "192.168.1.100",
                "02:00:5e:00:53:01",
                "the old printer upstairs",
            ]),
        ];
        assert_eq!(
            fit(&rows, Some(48)),
            "ADDRESS        MAC                NAME\n\
             192.168.1.100  02:00:5e:00:53:01  the old\n\
             \x20                                 printer\n\
             \x20                                 upstairs\n"
        );
        assert_eq!(
            fit(&rows, Some(30)),
            "ADDRESS  192.168.1.100\n\
             MAC      02:00:5e:00:53:01\n\
             NAME     the old printer\n\
             \x20        upstairs\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_nothing_is_lost() {
        let long = "x".repeat(70);
        let rows = [
            row(["NAME", "STATE", "TEXT"]),
            row([
                "\u{5bb6}\u{5ead}\u{7528}\u{30eb}\u{30fc}\u{30bf}",
                "in use",
                &long,
            ]),
            row([
                "",
                "-",
                "a b c d e f g h i j k l m n o p q r s t u v w x y z",
            ]),
        ];
        let letters = |text: &str| {
            let mut all: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
            all.sort_unstable();
            all
        };
        let table = letters(&rows.concat().concat());
        let list = letters(&(rows[0].concat() + &rows.concat().concat()));
        for columns in 16..100 {
            let text = fit(&rows, Some(columns));
            let widest = text.lines().map(str::width).max().unwrap();
            assert!(widest <= columns, "{columns}:\n{text}");
            let is_table = text.lines().next().unwrap().ends_with("TEXT");
            let whole = if is_table { &table } else { &list };
            assert_eq!(&letters(&text), whole, "{columns}:\n{text}");
        }
        assert!(fit(&[], Some(20)).is_empty());
    }
}
