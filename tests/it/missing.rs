//! Missing cells: an outcome is left out, a covariate becomes a latent. Against the same models with the rows left out,
//! with the cells declared as latents by hand, and against closed forms.

use vic::driver::FitRequest;
use vic::infer::{GuideKind, Target};

use crate::support::{self, checked_value as value, theta};

#[test]
fn a_missing_outcome_is_left_out() {
    let model = "data rows { g: category, n: int?, x: real[k]?  }\n".replace("real[k]?", "real?[k]")
        + "latent a[g] ~ Normal(0, 2)\nobserve n ~ Poisson(log: a[g])\nobserve x ~ Normal(a[g], 1)\n";
    let some = support::compile(&model, &support::csv("g,n,x.1,x.2\nu,3,,0.5\nv,,1.5,\nu,NA,0.25,-1\nv,7,NA,NA\n"));
    let at = theta(2);
    let present = [(0, 0.5), (1, 1.5), (0, 0.25), (0, -1.0)];
    let normal = |x: f64, m: f64, s: f64| -0.5 * ((x - m) / s).powi(2) - s.ln() - 0.918_938_533_204_672_8;
    let counts = 3.0 * at[0] - at[0].exp() - 6.0f64.ln() + 7.0 * at[1] - at[1].exp() - 5040.0f64.ln();
    let want: f64 = at.iter().map(|a| normal(*a, 0.0, 2.0)).sum::<f64>()
        + counts
        + present.iter().map(|(g, x)| normal(*x, at[*g], 1.0)).sum::<f64>();
    let got = value(&some, &at);
    assert!((got - want).abs() < 1e-12 * want.abs(), "{got} {want}");
}

/// `age ~ N(3, 2)`, `y ~ N(1.5 age, 1)`: an empty age has precision 1/4 + 2.25 and mean (3/4 + 1.5 y) over it.
#[test]
fn a_missing_covariate_has_its_posterior() {
    let model = "data people { name: key, age: real?, y: real }\nlatent m ~ Normal(0, 1)\n\
                 observe y ~ Normal(1.5 * age, 1)\nobserve age ~ Normal(3, 2)\nobserve y ~ Normal(m, 10)\n";
    let compiled = support::compile(model, &support::csv("name,age,y\nann,2,3.5\nbob,,6\ncid,1,2\ndot,,-1\n"));
    assert_eq!(compiled.model.names(), ["age[bob]", "age[dot]", "m"]);
    value(&compiled, &theta(3));
    let report = support::fit(&compiled, &FitRequest { guide: Some(GuideKind::FullRank), ..FitRequest::default() });
    let got = support::summaries(&report);
    let sd = 2.5f64.powf(-0.5);
    for (name, y) in [("age[bob]", 6.0), ("age[dot]", -1.0)] {
        let mean = (0.75 + 1.5 * y) / 2.5;
        // 4000 draws: a standard error of 0.016 sd in the mean and 1.1 % in the sd.
        assert!((got[name].0 - mean).abs() < 0.08 * sd, "{name}: {:?}, mean {mean}", got[name]);
        assert!((got[name].1 / sd - 1.0).abs() < 0.06, "{name}: {:?}, sd {sd}", got[name]);
    }
}

/// The range of an empty cell may differ by row; rows without a key are numbered.
#[test]
fn missing_cells_keep_the_support_of_their_row() {
    let model = "data rows { low, y: real, x: real? }\nlatent w ~ HalfNormal(2)\nobserve x ~ Uniform(low, low + w)\n\
                 observe y ~ Normal(x, 1)\n";
    let compiled = support::compile(model, &support::csv("low,y,x\n1,2,\n0,0.5,0.125\n3,3,NA\n"));
    let names = compiled.model.names();
    assert_eq!(names, ["w unconstrained", "x unconstrained[row 1]", "x unconstrained[row 3]"]);
    let at = theta(3);
    let w = at[0].exp();
    let normal = |x: f64| -0.5 * x * x - 0.918_938_533_204_672_8;
    let mut want = -0.5 * (w / 2.0).powi(2) - 2.0f64.ln() + 0.5 * (2.0 / std::f64::consts::PI).ln() + at[0];
    for (low, y, u) in [(1.0, 2.0, Some(at[1])), (0.0, 0.5, None), (3.0, 3.0, Some(at[2]))] {
        let share = |u: f64| 1.0 / (1.0 + (-u).exp());
        let (x, jacobian) = match u {
            Some(u) => (low + w * share(u), (w * share(u) * share(-u)).ln()),
            None => (0.125, 0.0),
        };
        want += normal(y - x) - w.ln() + jacobian;
    }
    let got = value(&compiled, &at);
    assert!((got - want).abs() < 1e-12 * want.abs(), "{got} {want}");
}

/// The textbook model of five indicators, some empty; `share` reads the filled cells, also those of a vector column.
#[test]
fn cells_of_a_vector_column_are_filled() {
    let model = "data people { x: real?[item] from [\"health\", \"income\"], y: real }\nlatent q[people] ~ Normal(0, 1)\n\
                 latent mean[item] ~ Normal(0, 5)\nobserve x ~ Normal(mean + q, 1)\n\
                 observe y ~ Normal(sum(x over item), 1)\n";
    let compiled = support::compile(model, &support::csv("health,income,y\n1,,2\n,NA,1\n0,1,0.5\n"));
    let names = compiled.model.names();
    assert_eq!(names[..3], ["x[row 2, health]", "x[row 1, income]", "x[row 2, income]"]);
    let full = "data people { a, b: real?, y: real }\nlatent q[people] ~ Normal(0, 1)\n\
                latent ma, mb ~ Normal(0, 5)\nobserve a ~ Normal(ma + q, 1)\nobserve b ~ Normal(mb + q, 1)\n\
                observe y ~ Normal(a + b, 1)\n";
    let apart = support::compile(full, &support::csv("a,b,y\n1,,2\n,NA,1\n0,1,0.5\n"));
    let at = theta(8);
    let (one, two) = (value(&compiled, &at), value(&apart, &at));
    assert!((one - two).abs() < 1e-12 * one.abs(), "{one} {two}");
}

#[test]
fn a_column_that_may_have_missing_cells_and_has_none_is_data() {
    let model = |mark: &str| {
        format!(
            "data rows {{ x: real{mark}, y: real }}\nlatent b ~ Normal(0, 1)\nlatent s ~ HalfNormal(1)\n\
             observe x ~ LogNormal(0, s)\nobserve y ~ Normal(b * x, 1)\n"
        )
    };
    let data = support::csv("x,y\n1,2\n3,2.5\n");
    let (with, without) = (support::compile(&model("?"), &data), support::compile(&model(""), &data));
    assert_eq!(value(&with, &theta(2)), value(&without, &theta(2)));
    let report = support::fit(&with, &FitRequest::default());
    assert_eq!(report.vars.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["b", "s"]);
}
