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

#[test]
fn the_cell_of_a_sum_is_named() {
    let model = "data rows { y: real, x: real[f] from [\"one\", \"two\"] }\nlatent b[f] ~ Normal(0, 1)\nobserve y ~ Normal(sum(b * log(x) over f), 1)\n";
    let text = trouble(model, "y,one,two\n1,1,1\n2,3,-1\n");
    for part in ["V0801", "model.vi:3:28", "rows 2", "f two", "x = -1", "data.csv:3"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn the_step_of_a_recurrence_is_named() {
    let model = "data days { y: real, x: real }\nlatent a ~ Normal(0, 1)\nlet h[t in days] = if first(t) then 1 else h[t-1] / (x - x[t-1]) + a\nobserve y ~ Normal(h, 1)\n";
    let text = trouble(model, "y,x\n1,1\n2,3\n3,3\n4,7\n");
    for part in ["V0801", "model.vi:3:", "days 3", "x = 3", "data.csv:4"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn the_row_of_a_batch_is_named_with_its_values() {
    let model = "data rows { y: real, x: real }\nlatent a ~ Normal(0, 1)\nobserve y ~ Normal(a + log(x), 1)\nguide { a ~ meanfield() }\nfit { batch: rows(2), epochs: 2 }\n";
    let text = trouble(model, "y,x\n1,-3\n2,-3\n3,-3\n4,-3\n");
    for part in ["V0801", "model.vi:3:24", "x = -3", "at rows ", "data.csv:", "at a = "] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn a_start_outside_is_answered_with_one_inside() {
    let model = "data rows { y: real, n: int }\nlatent a ~ Normal(0, 1)\nparam top = 5\nobserve y ~ Normal(a, 1)\nfactor if n > 3 then log(top - n) else 0\n";
    let text = trouble(model, "y,n\n0.5,1\n1.5,8\n3,4\n");
    for part in ["V0801", "model.vi:5:22", "top = 5, n = 8", "`param top = 10`"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}
