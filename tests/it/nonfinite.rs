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
