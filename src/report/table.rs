//! The table that a fit prints on the terminal.

use std::fmt::Write;

use super::{FitReport, Summary, Units, summaries, verdict};
use crate::infer::Trust;

/// How much to print, and whether with colour.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableStyle {
    /// Every cell of long variables too.
    pub all: bool,
    pub color: bool,
}

/// A variable with more cells than this is cut to its first few.
const LONG: usize = 20;
const FIRST: usize = 6;

/// The heading, any doubt, and one row per scalar.
pub fn table(fit: &FitReport, style: TableStyle) -> String {
    heading(fit, style) + &listing(fit, style, "`--all`, `--json`, or summary.json in `--out DIR`")
}

/// One row per scalar; `rest` says where the cells are that are cut.
pub fn listing(fit: &FitReport, style: TableStyle, rest: &str) -> String {
    let mut out = String::new();
    let groups = summaries(fit);
    let shown: Vec<&[Summary]> =
        groups.iter().map(|g| if g.len() > LONG && !style.all { &g[..FIRST] } else { &g[..] }).collect();
    let mut titles = vec!["", if fit.is_point() { "mode" } else { "mean" }, "sd", "5%", "50%", "95%"];
    if fit.withheld() {
        titles.truncate(2);
    }
    if fit.chains > 0 {
        titles.extend(["R-hat", "ESS"]);
    }
    let row = |s: &Summary, numbers: [String; 5]| -> Vec<String> {
        let mixed =
            s.mixing.iter().flat_map(|m| [format!("{:.3}", m.r_hat), format!("{:.0}", m.ess_bulk.min(m.ess_tail))]);
        let kept = if fit.withheld() { 1 } else { 5 };
        std::iter::once(s.name.clone()).chain(numbers.into_iter().take(kept)).chain(mixed).collect()
    };
    let rows: Vec<Vec<Vec<String>>> =
        shown.iter().map(|g| g.iter().zip(numbers(g)).map(|(s, n)| row(s, n)).collect()).collect();
    let mut widths: Vec<usize> = titles.iter().map(|t| t.chars().count()).collect();
    for row in rows.iter().flatten() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |row: &[&str], bold: bool| {
        let mut text = format!("{:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            write!(text, "  {cell:>width$}").expect("a String takes all that is written");
        }
        let text = text.trim_end();
        out.push_str(&if bold { paint(style, "1", text) } else { text.to_owned() });
        out.push('\n');
    };
    line(&titles, true);
    let mut cut = vec![];
    for ((group, shown), rows) in groups.iter().zip(&shown).zip(&rows) {
        rows.iter().for_each(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>(), false));
        if shown.len() < group.len() {
            let name = &group[0].variable;
            line(&[&format!("… {} more of {name}", group.len() - shown.len())], false);
            cut.push(name.as_str());
        }
    }
    if !cut.is_empty() {
        let them = if cut.len() == 1 { cut[0].to_owned() } else { "them".to_owned() };
        writeln!(out, "\nAll of {them}: {rest}.").expect("a String takes all");
    }
    let weights: usize = fit.weights.iter().map(|v| v.draws.len()).sum();
    if weights > 0 {
        let are = if weights == 1 { "weight is" } else { "weights are" };
        writeln!(out, "\n{weights} {are} in weights.safetensors in `--out DIR`.").expect("a String takes all");
    }
    super::discrete::table(fit, if style.all { usize::MAX } else { FIRST }, &mut out);
    out
}

fn heading(fit: &FitReport, style: TableStyle) -> String {
    let mut out = String::new();
    for (i, line) in verdict::lines(fit).iter().enumerate() {
        let code = match fit.verdict.as_ref().map(|v| v.trust) {
            Some(Trust::Trust) => "1;32",
            Some(Trust::MeansOnly) => "1;33",
            _ => "1;31",
        };
        out.push_str(&if i == 0 { paint(style, code, line) } else { line.clone() });
        out.push('\n');
    }
    let sizes: Vec<String> = fit.sizes.iter().map(|(plate, n)| format!("{n} {plate}")).collect();
    let over = if sizes.is_empty() { String::new() } else { format!(" · {}", sizes.join(", ")) };
    let mut push = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    push(format!("{}{over} · guide {} · method {} · seed {}", fit.model, fit.guide, fit.method, fit.seed));
    let bound = fit.elbo.map(|(elbo, se)| format!("ELBO {} · ", with_error(elbo, se))).unwrap_or_default();
    push(format!("{bound}{} gradients · {}", fit.gradients, duration(fit.seconds)));
    if !fit.chosen.is_empty() {
        let chosen: Vec<String> = fit.chosen.iter().map(|c| format!("{} ({})", c.value, c.why)).collect();
        push(format!("Chosen: {}", chosen.join(", ")));
    }
    if fit.chains > 0 {
        // Of chains one asks whether they agree, which the verdict says.
    } else if fit.converged {
        push(format!("Converged. {}", fit.stop_reason));
    } else {
        let text = format!("NOT CONVERGED. {} These numbers may be far from the posterior.", fit.stop_reason);
        push(paint(style, "1;31", &text));
    }
    push(format!("Draws: {}", fit.draws_from));
    if !fit.noncentred.is_empty() {
        let names: Vec<String> = fit.noncentred.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        push(format!("Noncentred: {}", names.join(", ")));
    }
    if !fit.collapsed.is_empty() {
        let names: Vec<String> = fit.collapsed.iter().map(|(name, how)| format!("{name} ({how})")).collect();
        push(format!("Integrated out: {}", names.join(", ")));
    }
    if !fit.units.is_empty() {
        let of = |u: &Units| format!("{} of {} of {}", u.active, u.of, u.latent);
        push(format!("Active units: {}", fit.units.iter().map(of).collect::<Vec<_>>().join(", ")));
    }
    for doubt in &fit.doubts {
        push(paint(style, "33", &format!("Doubt: {doubt}")));
    }
    out.push('\n');
    out
}

fn paint(style: TableStyle, code: &str, text: &str) -> String {
    if style.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 59.95 => format!("{s:.1} s"),
        s => format!("{} min {:02} s", (s / 60.0) as u64, (s % 60.0) as u64),
    }
}

/// `-31.416 ± 0.023`: two digits of the error, as many places of the value; a thousandth of a nat is nothing.
fn with_error(x: f64, error: f64) -> String {
    if !error.is_finite() || error <= 0.0 {
        return format!("{x:.2}");
    }
    if error < 0.0005 {
        return format!("{x:.3} ± <0.001");
    }
    let places = (1 - error.log10().floor() as i32).clamp(0, 3) as usize;
    format!("{x:.places$} ± {error:.places$}")
}

/// The cells of one variable as text, with the same number of decimals throughout: three digits of the smallest sd.
fn numbers(group: &[Summary]) -> Vec<[String; 5]> {
    let numbers = |s: &Summary| [s.mean, s.sd, s.q5, s.q50, s.q95];
    let sds = || group.iter().map(|s| s.sd).filter(|sd| sd.is_finite() && *sd > 0.0);
    let largest = group.iter().flat_map(numbers).filter(|x| x.is_finite()).fold(0.0, |a: f64, x| a.max(x.abs()));
    let magnitude = |x: f64| x.log10().floor() as i32;
    let smallest = sds().fold(f64::INFINITY, f64::min);
    // Without spread (a `param`), four digits of the value.
    let places = if smallest.is_finite() {
        2 - magnitude(smallest)
    } else if largest > 0.0 {
        3 - magnitude(largest)
    } else {
        0
    };
    let format = |x: f64| {
        if !x.is_finite() {
            format!("{x}")
        } else if places > 7 || largest >= 1e8 {
            // As many digits as it takes to see the sd beside the largest value.
            let digits =
                if smallest.is_finite() && largest > 0.0 { magnitude(largest) - magnitude(smallest) + 2 } else { 3 };
            format!("{x:.*e}", digits.clamp(2, 15) as usize)
        } else {
            let text = format!("{x:.*}", places.max(0) as usize);
            // A negative number that rounds to nothing.
            match text.strip_prefix('-') {
                Some(rest) if rest.bytes().all(|b| matches!(b, b'0' | b'.')) => rest.to_owned(),
                _ => text,
            }
        }
    };
    group.iter().map(|s| numbers(s).map(format)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_decide_the_digits() {
        assert_eq!(with_error(-31.41592, 0.0234), "-31.416 ± 0.023");
        assert_eq!(with_error(-31415.92, 23.4), "-31416 ± 23");
        assert_eq!(with_error(-31.41592, 0.000023), "-31.416 ± <0.001");
        assert_eq!(with_error(-31.41592, 0.0), "-31.42");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(duration(0.0123), "12 ms");
        assert_eq!(duration(1.26), "1.3 s");
        assert_eq!(duration(75.0), "1 min 15 s");
        assert_eq!(duration(59.96), "0 min 59 s");
    }

    #[test]
    fn one_variable_has_one_number_of_decimals() {
        let row = |mean, sd| Summary {
            name: "x".into(),
            variable: "x".into(),
            labels: vec![],
            kind: "latent",
            mean,
            sd,
            q5: mean,
            q50: -1e-9,
            q95: mean,
            mixing: None,
        };
        let means = |g: &[Summary]| numbers(g).iter().map(|r| r[0].clone()).collect::<Vec<_>>();
        assert_eq!(means(&[row(6.1505, 5.61), row(-10.2, 23.4)]), ["6.15", "-10.20"]);
        assert_eq!(means(&[row(1234.5, 230.0)]), ["1234"]);
        assert_eq!(means(&[row(0.0123456, 0.00123)]), ["0.01235"]);
        assert_eq!(means(&[row(3.21987, 0.0)]), ["3.220"]);
        assert_eq!(means(&[row(1.5e9, 1e6)]), ["1.50000e9"]);
        assert_eq!(means(&[row(f64::NAN, f64::NAN)]), ["NaN"]);
        assert_eq!(numbers(&[row(1.0, 1.0)])[0][3], "0.00");
    }
}
