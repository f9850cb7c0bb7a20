//! One fit beside another: what a guide says of each scalar, and what the sampler says.

use std::collections::HashMap;
use std::fmt::Write;

use serde::Serialize;

use super::summary::mean_sd;

/// How one scalar of a fit differs from the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub name: String,
    pub mean: f64,
    pub sd: f64,
    pub reference_mean: f64,
    pub reference_sd: f64,
    /// Difference of the means in the reference's sds.
    pub shift: f64,
    /// The sd over the reference's.
    pub sd_ratio: f64,
}

/// Every scalar that both fits drew and that varies in the reference, in the order of `names`.
pub fn compare(
    names: &[String],
    fit: &HashMap<String, Vec<f64>>,
    reference: &HashMap<String, Vec<f64>>,
) -> Vec<Difference> {
    let one = |name: &String| {
        let finite = |draws: &Vec<f64>| draws.iter().copied().filter(|x| x.is_finite()).collect::<Vec<_>>();
        let (mean, sd) = mean_sd(&finite(fit.get(name)?));
        let (reference_mean, reference_sd) = mean_sd(&finite(reference.get(name)?));
        let (shift, sd_ratio) = ((mean - reference_mean) / reference_sd, sd / reference_sd);
        let found = Difference { name: name.clone(), mean, sd, reference_mean, reference_sd, shift, sd_ratio };
        (reference_sd > 0.0).then_some(found)
    };
    names.iter().filter_map(one).collect()
}

/// Rows shown unless all are asked for.
const SHOWN: usize = 20;

/// The table, largest differences first, and one line that sums it up.
pub fn comparison(found: &[Difference], all: bool) -> String {
    let badness = |d: &Difference| d.shift.abs().max(d.sd_ratio.ln().abs());
    let mut order: Vec<&Difference> = found.iter().collect();
    order.sort_by(|a, b| badness(b).total_cmp(&badness(a)));
    let shown = if all { order.len() } else { order.len().min(SHOWN) };
    let width = order[..shown].iter().map(|d| d.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{}", text.trim_end()).expect("a String takes all that is written");
    line(format!("{:width$}  {:>12}  {:>12}  {:>9}  {:>9}", "", "mean", "reference", "off by sd", "sd ratio"));
    for d in &order[..shown] {
        let pad = " ".repeat(width - d.name.chars().count());
        line(format!(
            "{}{pad}  {:>12.5}  {:>12.5}  {:>9.2}  {:>9.2}",
            d.name, d.mean, d.reference_mean, d.shift, d.sd_ratio
        ));
    }
    if shown < order.len() {
        line(format!("… {} more that differ less: `--all`", order.len() - shown));
    }
    let worst = |f: &dyn Fn(&Difference) -> f64| found.iter().map(f).fold(0.0, f64::max);
    line(String::new());
    line(format!(
        "Means differ by at most {:.2} sds, sds by at most {:.0} %.",
        worst(&|d| d.shift.abs()),
        100.0 * (worst(&|d| d.sd_ratio.ln().abs()).exp() - 1.0)
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_points_are_left_out() {
        let draws = |scale: f64, shift: f64| (0..101).map(|i| shift + scale * (i as f64 - 50.0)).collect::<Vec<_>>();
        let names: Vec<String> = ["a", "b", "point", "only here"].map(String::from).to_vec();
        let of = |a: Vec<f64>, b: Vec<f64>, extra: &str| {
            HashMap::from([
                ("a".to_string(), a),
                ("b".to_string(), b),
                ("point".to_string(), vec![1.0; 101]),
                (extra.to_string(), vec![0.0, 1.0]),
            ])
        };
        let found = compare(
            &names,
            &of(draws(1.0, 0.0), draws(2.0, 1.0), "only here"),
            &of(draws(1.0, 0.0), draws(1.0, 0.0), "only there"),
        );
        assert_eq!(found.len(), 2);
        assert!((found[1].sd_ratio - 2.0).abs() < 1e-12 && found[0].shift == 0.0);
        let text = comparison(&found, false);
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[1].starts_with('b') && rows[2].starts_with('a'), "{text}");
        assert!(text.ends_with("sds by at most 100 %.\n"), "{text}");
    }
}
