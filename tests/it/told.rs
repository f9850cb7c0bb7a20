//! What `vic show --stage guide` and `vic diagnose` say of each kind of guide: `tests/told/NAME.txt` holds both beside the
//! model. Numbers that a processor may round otherwise stand as `#`. `UPDATE_GOLDEN=1 cargo test --release --test it told`
//! rewrites them; the diff is the review.

use std::path::Path;

use vic::driver::{self, FitRequest, Session};
use vic::report::{diagnosis, summary_json};

use crate::support;

const REGRESSION: &str = "data rows { x1, x2, y: real }\nlatent a, b, c ~ Normal(0, 3)\nlatent sigma ~ HalfNormal(1)\n\
                          observe y ~ Normal(a + b * x1 + c * x2, sigma)\n";
const ROWS: &str =
    "x1,x2,y\n1,0.2,2.1\n0.2,1.1,0.3\n-1.1,0.4,-1.9\n0.5,-0.7,0.8\n1.8,0.9,3.9\n2.6,-1.2,4.2\n-0.4,0.3,-0.2\n";

/// A name, what is written after the model's data, and the data.
fn cases() -> Vec<(&'static str, String, &'static str)> {
    let regression = |guide: &str| format!("{REGRESSION}{guide}\n");
    let modes = "latent x ~ Normal(0, 10)\nlatent w ~ StudentT(5, x, 1)\n\
                 factor log_add_exp(-0.5 * ((x - 6) / 0.5)^2, -0.5 * ((x + 6) / 0.5)^2)\nguide mixture(2)\n";
    let written = "data rows { y: int, x: real }\nlatent rate ~ Gamma(2, 1)\nlatent share ~ Beta(2, 2)\nlatent shift ~ Normal(0, 1)\n\
                   latent up[rows] ~ Bernoulli(share)\nlatent e ~ Normal(0, 1)\n\
                   observe y ~ Poisson(rate)\nobserve x ~ Normal(shift + up + 0.3 * e, 0.7)\n\
                   guide {\n  param a, b = 1\n  param s: real > 0 = 0.5\n  rate ~ Gamma(exp(a), exp(b))\n  share ~ Beta(2, 2)\n  \
                   shift ~ Normal(0, s)\n  up ~ Bernoulli(logit: x - shift) METHOD\n  rest ~ meanfield()\n}\n";
    let counts = "y,x\n2,0.4\n1,1.2\n4,-0.3\n2,1.6\n";
    vec![
        ("low_rank", regression("guide lowrank(1)"), ROWS),
        ("flow", regression("guide flow(2)\nfit { starts: 1 }"), ROWS),
        ("mixture", modes.into(), ""),
        (
            "written",
            written
                .replace("param a, b = 1", "param a = 1\n  param b = 1")
                .replace("METHOD", "@gumbel(temperature: 0.5)"),
            counts,
        ),
        (
            "amortised",
            "data rows { y: int, x: real, at: category }\nlatent b[at] ~ Normal(0, 1)\nlatent high[rows] ~ Normal(0, 1)\n\
             latent rate[rows] ~ Gamma(2, exp(high))\nobserve y ~ Poisson(rate)\nobserve x ~ Normal(high + b[at], 1)\n\
             guide amortised(8)\nfit { starts: 1 }\n"
                .into(),
            "y,x,at\n2,0.4,a\n1,1.2,b\n4,-0.3,a\n2,1.6,b\n",
        ),
        (
            "members",
            "data rows { y: real, at: category }\nlatent z[at] ~ Normal(0, 1)\nlatent b[rows] ~ Normal(z[at], 0.6)\n\
             observe y ~ Normal(b, 0.5)\nguide {\n  param m: real = 0\n  param s: real > 0 = 0.1\n  z ~ Normal(m, s)\n  \
             b ~ Normal(0.3 * y, s)\n}\nfit { batch: at(2), method: iwae, importance_samples: 3, epochs: 2, holdout: 0.3 }\n"
                .into(),
            "y,at\n2,a\n1,b\n4,a\n2,c\n-1,b\n0.5,d\n",
        ),
        ("scored", written.replace("param a, b = 1", "param a = 1\n  param b = 1").replace("METHOD", "@score"), counts),
    ]
}

/// Every number as `#`.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut within = false;
    let chars: Vec<char> = text.chars().collect();
    for (i, &c) in chars.iter().enumerate() {
        let next = chars.get(i + 1).copied().unwrap_or(' ');
        let starts = c.is_ascii_digit() || c == '-' && next.is_ascii_digit();
        let goes_on = within
            && (c.is_ascii_digit() || matches!(c, '.' | 'e' | '-') && next.is_ascii_digit() || c == 'e' && next == '-');
        match (within, starts || goes_on) {
            (false, true) => out.push('#'),
            (_, false) => out.push(c),
            (true, true) => {}
        }
        within = starts || goes_on;
    }
    out
}

#[test]
fn what_is_told_of_guides() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/told");
    let mut wrong = vec![];
    for (name, model, data) in cases() {
        let mut checked = driver::check(&mut Session::default(), "model.vi", &model);
        let guide = driver::guide_text(&mut checked);
        let inputs = if data.is_empty() { vic::data::Inputs::default() } else { support::csv(data) };
        let compiled = support::compile(&model, &inputs);
        let report = support::fit(&compiled, &FitRequest { threads: Some(1), ..FitRequest::default() });
        let said = without_numbers(&diagnosis(&serde_json::from_str(&summary_json(&report)).expect("JSON")));
        let text = format!("=== model\n{model}=== show --stage guide\n{guide}=== diagnose\n{said}");
        let golden = folder.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(&folder).expect("writable");
            std::fs::write(&golden, &text).expect("writable");
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(format!("{} no longer matches; now:\n{text}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
