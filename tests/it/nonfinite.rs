//! A log joint that is not finite is traced to the declaration and the row.

use vic::diag::{RenderStyle, render};
use vic::driver::{self, FitRequest, Session};

use crate::support;

/// What the user reads.
fn trouble(model: &str, data: &str) -> String {
    let mut session = Session::default();
    let checked = driver::check(&mut session, "model.vi", model);
    let compiled = driver::compile(&mut session, checked, &support::csv(data)).expect("the data fit the model");
    let options = driver::options(&compiled, &FitRequest::default());
    assert!(driver::fit(&mut session, &compiled, &options, &mut |_| {}).is_none());
    let style = RenderStyle { width: 100, color: false, unicode: true };
    session.diags.sorted().iter().map(|d| render(d, &session.sources, style)).collect()
}

#[test]
fn an_impossible_observation_is_named_with_its_row() {
    let model = "data shops { name: key, sales: int, visitors: real }\nlatent rate ~ HalfNormal(1)\n\nobserve sales ~ Poisson(rate * visitors)\n";
    let text = trouble(model, "name,sales,visitors\nNorth,12,40\nSouth,1,0\nEast,3,7\n");
    for part in ["V0801", "observe sales", "South", "data.csv:3", "model.vi:4"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn a_bad_scale_in_the_data_is_named_with_its_row() {
    let model = "data rows { y: real, se: real }\nlatent mu ~ Normal(0, 1)\nobserve y ~ Normal(mu, se)\n";
    let text = trouble(model, "y,se\n1,1\n2,0\n");
    for part in ["V0801", "observe y", "data.csv:3"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn the_part_of_the_statement_is_shown_with_its_values() {
    let model = "data rows { y: real, x: real }\nlatent a ~ Normal(0, 1)\nobserve y ~ Normal(a + log(x), 1)\n";
    let text = trouble(model, "y,x\n1,1\n2,-3\n");
    // The logarithm, not the statement, with the value that it is taken of, and where the latent is.
    for part in ["V0801", "model.vi:3:24", "x = -3", "data.csv:3", "at a = "] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let model = "data rows { y: real, x: real }\nlatent a ~ Normal(0, 1)\nobserve y ~ Normal(exp(a + 100 * x), 1)\n";
    let text = trouble(model, "y,x\n1,0\n2,5\n");
    for part in ["V0801", "model.vi:3:20", "x = 5", "data.csv:3"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}
