//! Truncated and censored distributions against their closed forms, and survival times that are censored on purpose.

use vic::driver::FitRequest;

use crate::support::{self, checked_value as value, theta};

/// The log joint of a model without its prior on `a` and `b`, both standard normal, at the numbers of `theta`.
fn likelihood(model: &str, data: &str) -> (f64, f64, f64) {
    let head = "latent a, b ~ Normal(0, 1)\n";
    let (columns, rest) = model.split_once('\n').expect("data, then the rest");
    let compiled = support::compile(&format!("{columns}\n{head}{rest}\n"), &support::csv(data));
    let at = theta(2);
    let prior: f64 = at.iter().map(|x| -0.5 * x * x - 0.918_938_533_204_672_8).sum();
    (value(&compiled, &at) - prior, at[0], at[1])
}

fn close(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-12 * want.abs().max(1.0), "{got} {want}");
}

/// Weibull with shape 1.5: log density and log probability above a value.
fn weibull(x: f64, scale: f64) -> (f64, f64) {
    let z = (x / scale).powf(1.5);
    (1.5f64.ln() - x.ln() + z.ln() - z, -z)
}

#[test]
fn censored_values_count_with_their_tails() {
    let data = "t,low,high,upto\n2,0,0,2\n3,0,1,3\n0.5,1,0,0.5\n1,0,0,4\n2.5,0,1,2.5\n";
    let (got, a, b) = likelihood(
        "data rows { t, upto: real > 0, low, high: bool }\n\
         observe t ~ censored(Weibull(1.5, exp(a + b)), left: low, right: high, interval: upto)",
        data,
    );
    let scale = (a + b).exp();
    let tail = |x: f64| weibull(x, scale).1;
    let want = weibull(2.0, scale).0
        + tail(3.0)
        + (-tail(0.5).exp_m1()).ln()
        + (tail(1.0).exp() - tail(4.0).exp()).ln()
        + tail(2.5);
    close(got, want);
}

/// Delayed entry: who is seen at all lived longer than `entry`.
#[test]
fn a_truncated_distribution_is_normalised_on_its_range() {
    let (got, a, _) = likelihood(
        "data rows { t: real > 0, entry: real, dead: bool }\n\
         observe t ~ truncated(censored(Weibull(1.5, exp(a)), right: not dead), lower: entry)\nfactor 0 * b",
        "t,entry,dead\n2,0.5,1\n3,1,0\n1.5,1.25,1\n",
    );
    let scale = a.exp();
    let of = |x: f64, entry: f64, dead: bool| {
        let (density, tail) = weibull(x, scale);
        (if dead { density } else { tail }) - weibull(entry, scale).1
    };
    close(got, of(2.0, 0.5, true) + of(3.0, 1.0, false) + of(1.5, 1.25, true));

    // An end that is a latent: the density is 0 beyond it.
    let (got, a, _) = likelihood(
        "data rows { t: real }\nobserve t ~ truncated(Logistic(0, 1), lower: -2, upper: 3 + exp(a))\nfactor 0 * b",
        "t\n2\n-1.5\n",
    );
    let cdf = |x: f64| 1.0 / (1.0 + (-x).exp());
    let density = |x: f64| -x - 2.0 * (-x).exp().ln_1p();
    close(got, density(2.0) + density(-1.5) - 2.0 * (cdf(3.0 + a.exp()) - cdf(-2.0)).ln());
}

/// Counts above 0, as of groups that are seen only if somebody is in them.
#[test]
fn counts_are_truncated_by_the_counts_left_out() {
    let (got, a, _) = likelihood(
        "data rows { n: int > 0 }\nobserve n ~ truncated(Poisson(log: a), lower: 1)\nfactor 0 * b",
        "n\n1\n4\n2\n",
    );
    let rate = a.exp();
    let want = 7.0 * a - 3.0 * rate - 24.0f64.ln() - 2.0f64.ln() - 3.0 * (-(-rate).exp_m1()).ln();
    close(got, want);
    let (got, a, _) = likelihood(
        "data rows { n: int }\nobserve n ~ truncated(Poisson(log: a), upper: 2)\nfactor 0 * b",
        "n\n1\n0\n2\n",
    );
    let rate = a.exp();
    close(got, 3.0 * a - 2.0f64.ln() - 3.0 * (1.0 + rate + 0.5 * rate * rate).ln());
}

/// A type and a truncation cut to what both admit.
#[test]
fn a_latent_can_be_truncated() {
    let model = "data rows { y: real }\nlatent s: real > 0 ~ truncated(Normal(0, 1), lower: -1, upper: 2)\n\
                 observe y ~ Normal(s, 1)\n";
    let compiled = support::compile(model, &support::csv("y\n0.5\n"));
    let u = theta(1)[0];
    let share = 1.0 / (1.0 + (-u).exp());
    let s = 2.0 * share;
    let normal = |x: f64| -0.5 * x * x - 0.918_938_533_204_672_8;
    // Φ(2) - Φ(0), from tables to 16 digits.
    let kept = 0.477_249_868_051_820_8_f64;
    let want = normal(s) - kept.ln() + (2.0 * share * (1.0 - share)).ln() + normal(0.5 - s);
    close(value(&compiled, &[u]), want);
}

/// The textbook model of survival times, on times made from known values: quantiles in a fixed order, a third of them
/// cut off. 600 patients leave standard errors of about 0.04 on the shape and 0.06 on the rest; 4 of them are allowed.
#[test]
fn survival_times_recover_the_values_that_made_them() {
    let model = support::read("tests/models/textbook/weibull_survival.vi");
    let (shape, a, b_age) = (1.4, 6.0, -0.3);
    let b_sex = [0.2, -0.2];
    let mut csv = String::from("time,event,age,sex\n");
    let (mut u, mut v) = (0.5f64, 0.25f64);
    for i in 0..600usize {
        // Additive recurrences of the golden ratio and of √2: even, and unrelated to each other.
        (u, v) = ((u + 0.618_033_988_749_894_8) % 1.0, (v + 0.414_213_562_373_095_1) % 1.0);
        let (age, sex) = (40.0 + (i * 7 % 41) as f64, i % 2);
        let scale = f64::exp(a + b_age * (age - 60.0) / 10.0 + b_sex[sex]);
        let (time, limit) = (scale * (-u.ln()).powf(1.0 / shape), 900.0 * v + 1.0);
        csv += &format!("{},{},{age},{}\n", time.min(limit), u8::from(time <= limit), ["f", "m"][sex]);
    }
    let compiled = support::compile(&model, &support::csv(&csv));
    let got = support::summaries(&support::fit(&compiled, &FitRequest::default()));
    assert!((got["shape"].0 - shape).abs() < 0.16, "{:?}", got["shape"]);
    assert!((got["b_age"].0 - b_age).abs() < 0.16, "{:?}", got["b_age"]);
    let gap = got["b_sex[f]"].0 - got["b_sex[m]"].0;
    assert!((gap - 0.4).abs() < 0.35, "{gap}");
}
