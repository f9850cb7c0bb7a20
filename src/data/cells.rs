//! One cell of text as a number, and cells that are not what was declared.

use crate::diag::{Diagnostic, and_more, counted};

/// What a cell holds, read as a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    Missing,
    Number(f64),
    Bad,
}

/// An empty cell and `NA` are missing; so is nothing else.
pub fn is_missing(text: &str) -> bool {
    text.is_empty() || text == "NA"
}

pub fn real(text: &str) -> Cell {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Cell::Number(x),
        _ if is_missing(text) => Cell::Missing,
        // `inf`, `nan` and `1e999` parse in Rust; none is a measurement.
        _ => Cell::Bad,
    }
}

pub fn bool(text: &str) -> Cell {
    const WORDS: [(&str, f64); 6] = [("0", 0.0), ("1", 1.0), ("false", 0.0), ("true", 1.0), ("no", 0.0), ("yes", 1.0)];
    match WORDS.iter().find(|(w, _)| text.eq_ignore_ascii_case(w)) {
        Some((_, x)) => Cell::Number(*x),
        None if is_missing(text) => Cell::Missing,
        None => Cell::Bad,
    }
}

/// A probability.
pub fn share(text: &str) -> Cell {
    match real(text) {
        Cell::Number(x) if !(0.0..=1.0).contains(&x) => Cell::Bad,
        cell => cell,
    }
}

/// A date `2024-02-29` as days since 1970-01-01.
pub fn date(text: &str) -> Cell {
    if is_missing(text) {
        return Cell::Missing;
    }
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return Cell::Bad };
    let digits = |s: &str, n: usize| {
        if s.len() == n && s.bytes().all(|b| b.is_ascii_digit()) { s.parse::<i64>().ok() } else { None }
    };
    let (Some(year), Some(month), Some(day)) = (digits(year, 4), digits(month, 2), digits(day, 2)) else {
        return Cell::Bad;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Cell::Bad,
    };
    if !(1..=length).contains(&day) {
        return Cell::Bad;
    }
    // Days from civil, Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in March.
    let y = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Cell::Number((era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468) as f64)
}

/// A number as text. Whole numbers are written without a point, so that `1.0` names the level 1.
pub fn written(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 { format!("{}", x as i64) } else { format!("{x}") }
}

/// Whether a number is whole and held exactly.
pub fn is_whole(x: f64) -> bool {
    x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0
}

/// How places in a file are called.
#[derive(Clone, Debug, Default)]
pub enum Origin {
    /// `houses.csv:12:3`
    #[default]
    Text,
    /// `data.json: y[12]`, `rows.parquet: y[12]`; per column its name, and whether it is one of a JSON matrix.
    Keys(Vec<(String, bool)>),
}

impl Origin {
    /// A cell: line and number of the column, both from 1.
    pub fn cell(&self, file: &str, line: u64, column: usize) -> String {
        match self {
            Origin::Text => format!("{file}:{line}:{column}"),
            Origin::Keys(header) => {
                let (name, matrix) = &header[column - 1];
                format!("{file}: {}", super::json::place(name, line, *matrix))
            }
        }
    }

    /// A row.
    pub fn row(&self, file: &str, line: u64) -> String {
        match self {
            Origin::Text => format!("{file}:{line}"),
            Origin::Keys(_) => format!("{file}: row {line}"),
        }
    }
}

/// Where a cell stands: line of the file, number of the column (both from 1), and its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u64,
    pub column: usize,
    pub text: String,
}

/// The first few places of one kind of trouble, and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    pub first: Vec<Place>,
    pub count: usize,
}

/// How many places a message names.
pub const SHOWN: usize = 5;

impl Problems {
    pub fn add(&mut self, line: u64, column: usize, text: impl FnOnce() -> String) {
        if self.first.len() < SHOWN {
            self.first.push(Place { line, column, text: text() });
        }
        self.count += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `1 cell` or `12 cells`.
    pub fn cells(&self) -> String {
        counted(self.count, "cell")
    }

    /// The diagnostic with these places: `houses.csv:12:3: "abc"`.
    pub fn show(&self, file: &str, origin: &Origin, mut d: Diagnostic) -> Diagnostic {
        for p in &self.first {
            let text = if p.text.is_empty() { "empty".to_owned() } else { quoted(&p.text) };
            d = d.place(format!("{}: {text}", origin.cell(file, p.line, p.column)));
        }
        let rest = self.count - self.first.len();
        if rest > 0 { d.note(and_more(rest, "cell")) } else { d }
    }
}

/// A cell's text as a message shows it: in quotes, on one line, not endless.
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_as_written() {
        assert_eq!(real("1e-3"), Cell::Number(0.001));
        assert_eq!(real("+5"), Cell::Number(5.0));
        assert_eq!(real("NA"), Cell::Missing);
        assert_eq!(real(""), Cell::Missing);
        for bad in ["nan", "inf", "-Infinity", "1e999", "1,5", "0x10", "n/a"] {
            assert_eq!(real(bad), Cell::Bad, "{bad}");
        }
    }

    #[test]
    fn reads_truth_values_of_the_rule_only() {
        for (text, x) in [("0", 0.0), ("1", 1.0), ("TRUE", 1.0), ("no", 0.0), ("Yes", 1.0)] {
            assert_eq!(bool(text), Cell::Number(x), "{text}");
        }
        assert_eq!(bool("2"), Cell::Bad);
        assert_eq!(bool("y"), Cell::Bad);
        assert_eq!(bool("NA"), Cell::Missing);
    }

    #[test]
    fn counts_days_of_dates() {
        assert_eq!(date("1970-01-01"), Cell::Number(0.0));
        assert_eq!(date("1969-12-31"), Cell::Number(-1.0));
        assert_eq!(date("2000-03-01"), Cell::Number(11017.0));
        assert_eq!(date("2024-02-29"), Cell::Number(19782.0));
        for bad in ["2023-02-29", "2024-13-01", "24-01-01", "2024/01/01", "2024-00-10", "2024-01-00"] {
            assert_eq!(date(bad), Cell::Bad, "{bad}");
        }
    }

    #[test]
    fn whole_numbers_are_exact() {
        assert!(is_whole(3.0) && is_whole(-7.0));
        assert!(!is_whole(3.5) && !is_whole(1e17) && !is_whole(f64::NAN));
    }
}
