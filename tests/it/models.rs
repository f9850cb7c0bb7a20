//! The models that the language was designed with, which are accepted, and some that are wrong.
//! A model is never accused of a mistake that it does not have.

use super::programs::program;
use super::support::{read, root};

fn check(path: &str) -> super::programs::Checked {
    let name = path.rsplit('/').next().unwrap_or(path);
    program(name, &read(&format!("tests/models/{path}.vi")))
}

/// These say nothing at all, not even a warning.
const ACCEPTED: &[&str] = &[
    "textbook/varying_slopes_lkj",
    "textbook/covariance",
    "posteriordb/gp_pois_regr-gp_pois_regr",
    "posteriordb/GLMM_data-GLMM1_model",
    "posteriordb/GLM_Poisson_Data-GLM_Poisson_model",
    "posteriordb/arK-arK",
    "posteriordb/dogs-dogs",
    "posteriordb/earnings-logearn_interaction",
    "posteriordb/eight_schools-eight_schools_centered",
    "posteriordb/eight_schools-eight_schools_noncentered",
    "posteriordb/garch-garch11",
    "posteriordb/hmm_example-hmm_example",
    "posteriordb/hudson_lynx_hare-lotka_volterra",
    "posteriordb/kidiq-kidscore_interaction",
    "posteriordb/kilpisjarvi_mod-kilpisjarvi",
    "posteriordb/low_dim_gauss_mix-low_dim_gauss_mix",
    "posteriordb/mesquite-logmesquite",
    "posteriordb/nes1996-nes",
    "posteriordb/nes_logit_data-nes_logit_model",
    "posteriordb/radon_all-radon_hierarchical_intercept_centered",
    "posteriordb/radon_mn-radon_hierarchical_intercept_noncentered",
    "posteriordb/rats_data-rats_model",
    "posteriordb/sblrc-blr",
    "posteriordb/wells_data-wells_dist100ars_model",
    "textbook/bayesian_nn",
    "textbook/fn_over_plate",
    "textbook/irt_2pl",
    "textbook/quality_of_life",
    "textbook/random_walk_season",
    "textbook/lda",
    "textbook/missing_covariate",
    "textbook/ordinal",
    "textbook/user_dist",
    "textbook/zero_inflated_poisson",
    "textbook/weibull_survival",
    "textbook/hierarchical_vae",
    "textbook/vae_mixture_prior",
    "textbook/vae_vampprior",
];

/// These are wrong, each for the reason that its name says.
const WRONG: &[(&str, &str)] = &[
    ("bare_group", "V0301"),
    ("dup", "V0201"),
    ("matrix_bare", "V0310"),
    ("mixed_heads", "V0312"),
    ("no_index", "V0301"),
    ("no_sum", "V0301"),
    ("sum_no_over", "V0302"),
];

#[test]
fn accepted() {
    for path in ACCEPTED {
        let found = check(path);
        assert!(found.codes().is_empty(), "{path}\n{}", found.rendered());
    }
}

#[test]
fn wrong() {
    for (name, code) in WRONG {
        let found = check(&format!("wrong/{name}"));
        assert_eq!(found.codes().first(), Some(code), "{name}\n{}", found.rendered());
    }
}

#[test]
fn no_model_is_left_out() {
    let listed: Vec<&str> = ACCEPTED.to_vec();
    for folder in ["posteriordb", "textbook"] {
        for entry in std::fs::read_dir(root(&format!("tests/models/{folder}"))).expect("part of the repository") {
            let file = entry.expect("readable").file_name().to_string_lossy().into_owned();
            let path = format!("{folder}/{}", file.trim_end_matches(".vi"));
            let found = check(&path);
            assert!(listed.contains(&path.as_str()), "{path}\n{}", found.rendered());
        }
    }
}
