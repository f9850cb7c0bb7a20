//! The three models and made-up data for them, through the whole pipeline.

use std::fmt::Write;

use vic::data::{DataFile, Inputs};
use vic::driver::{self, Compiled, Session};

pub const GROUPS: usize = 500;

pub const NORMAL: &str = r#"
data rows {
  y: real
  x: real[feature] from "x.*"
}
latent alpha ~ flat()
latent beta[feature] ~ flat()
latent sigma: real > 0 ~ flat()
observe y ~ Normal(alpha + sum(x * beta over feature), sigma)
"#;

pub const LOGIT: &str = r#"
data rows {
  y: bool
  x: real[feature] from "x.*"
}
latent alpha ~ flat()
latent beta[feature] ~ flat()
observe y ~ Bernoulli(logit: alpha + sum(x * beta over feature))
"#;

pub const INTERCEPTS: &str = r#"
data rows {
  y: real
  x: real from "x.1"
  g: category
}
latent alpha[g] ~ flat()
latent beta ~ flat()
latent sigma: real > 0 ~ flat()
observe y ~ Normal(alpha[g] + beta * x, sigma)
"#;

/// Columns one after the other in `x`.
pub struct Data {
    pub x: Vec<f64>,
    pub y: Vec<f64>,
    pub group: Vec<u32>,
}

/// Numbers without pattern in (0, 1).
pub fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (s >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Data {
    pub fn new(rows: usize, columns: usize, binary: bool) -> Data {
        let mut u = noise(columns as u64);
        let x: Vec<f64> = (0..rows * columns).map(|_| 2.0 * u() - 1.0).collect();
        let y = (0..rows).map(|i| if binary { (u() < 0.4) as u8 as f64 } else { x[i] + u() }).collect();
        // The first rows visit the groups in order, so that they are numbered as here.
        let group = (0..rows).map(|i| if i < GROUPS { i as u32 } else { (u() * GROUPS as f64) as u32 }).collect();
        Data { x, y, group }
    }

    fn csv(&self) -> Vec<u8> {
        let (n, k) = (self.y.len(), self.x.len() / self.y.len());
        let mut text = String::from("y,g");
        (1..=k).for_each(|j| write!(text, ",x.{j}").expect("memory"));
        text.push('\n');
        for i in 0..n {
            write!(text, "{},g{:03}", self.y[i], self.group[i]).expect("memory");
            (0..k).for_each(|j| write!(text, ",{}", self.x[j * n + i]).expect("memory"));
            text.push('\n');
        }
        text.into_bytes()
    }

    /// A model on these data.
    pub fn compile(&self, model: &str) -> Compiled {
        let file = DataFile { table: None, name: "rows.csv".into(), bytes: self.csv() };
        let mut session = Session::default();
        let checked = driver::check(&mut session, "model.vi", model);
        driver::compile(&mut session, checked, &Inputs { files: vec![file], sets: vec![] })
            .unwrap_or_else(|| panic!("{:?}", session.diags.list))
    }
}
