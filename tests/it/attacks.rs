//! Programs written to break the checker: deep, long, circular, empty, and with names that mean something else.

use super::programs::{examined, program};

/// The codes of a program, which also must not panic when derived.
fn codes(text: &str) -> Vec<&'static str> {
    examined(text);
    program("attack.vi", text).codes()
}

const ROWS: &str = "data rows { y: real, x: real }\nlatent a ~ Normal(0, 1)\n";

#[test]
fn deep_but_allowed() {
    let sum = vec!["a"; 900].join(" + ");
    assert!(codes(&format!("{ROWS}observe y ~ Normal(x + {sum}, 1)")).is_empty());
    let nested = format!("{}a{}", "exp(".repeat(400), ")".repeat(400));
    assert!(codes(&format!("{ROWS}observe y ~ Normal(x + {nested}, 1)")).is_empty());
    let nested = format!("{}a{}", "(if x > 0 then 1 else ".repeat(150), ")".repeat(150));
    assert!(codes(&format!("{ROWS}observe y ~ Normal({nested}, 1)")).is_empty());
}

#[test]
fn functions_in_functions() {
    let chain = |n: usize, body: &str| {
        let mut text = "fn f0(x: real) -> real = x + 1\n".to_string();
        for i in 1..n {
            text += &format!("fn f{i}(x: real) -> real = {}\n", body.replace('#', &format!("f{}", i - 1)));
        }
        format!("{text}{ROWS}observe y ~ Normal(f{}(a) + x, 1)", n - 1)
    };
    assert!(codes(&chain(50, "#(x) * 2")).is_empty());
    assert_eq!(codes(&chain(300, "#(x) * 2")).first(), Some(&"V0220"));
    assert_eq!(codes(&chain(40, "#(x) + #(2 * x)")).first(), Some(&"V0220"));
    // Deep expressions within deep calls.
    let long = format!("#(x){}", " + 1".repeat(700));
    assert_eq!(codes(&chain(20, &long)).first(), Some(&"V0220"));
}

#[test]
fn lets_that_double() {
    let mut text = format!("{ROWS}let b0 = x + y\nlet c0 = a * x\n");
    for i in 1..60 {
        text += &format!("let b{i} = b{0} + b{0}\nlet c{i} = c{0} * b{i} + c{0}\n", i - 1);
    }
    assert!(codes(&format!("{text}observe y ~ Normal(c59, 1)")).is_empty());
    // A chain that is long rather than wide.
    let mut text = format!("{ROWS}let b0 = a * x\n");
    for i in 1..3000 {
        text += &format!("let b{i} = b{} + 1\n", i - 1);
    }
    assert!(codes(&format!("{text}observe y ~ Normal(b2999, 1)")).is_empty());
}

#[test]
fn long_lists_and_many_declarations() {
    let items = vec!["1"; 5000].join(", ");
    let text = format!("plate k = 5000\n{ROWS}let w[k] = [{items}]\nobserve y ~ Normal(a * x + sum(w over k), 1)");
    assert!(codes(&text).is_empty());
    let many: String = (0..2000).map(|i| format!("latent l{i} ~ Normal(0, 1)\n")).collect();
    let sum: Vec<String> = (0..900).map(|i| format!("l{i}")).collect();
    let found = codes(&format!("{many}{ROWS}observe y ~ Normal(a * x + {}, 1)", sum.join(" + ")));
    let (unused, others): (Vec<&str>, Vec<&str>) = found.iter().partition(|c| **c == "V1001");
    // Of those that are used the data tell only the sum.
    assert_eq!((unused.len(), others.as_slice()), (1100, ["V1014"].as_slice()));
}

#[test]
fn names_that_mean_something_else() {
    // Columns, latents and plates called as functions and constants are; the library must not see them.
    let text = "data rows { pi: real, mean: real, log: real, e: category }
plate sum = 3
plate K = 2
latent exp, sd, lgamma, x, mu, sigma ~ Normal(0, 1)
latent Phi[sum], lbeta[sum] ~ Beta(2, 2)
latent w over K ~ Dirichlet(1)
latent b[e] ~ StudentT(3, 0, 1)
observe mean ~ Normal(exp + pi * sd + b[e] + sum(Phi + lbeta over sum) + w[1], exp(x + mu * sigma))
factor mean(log(abs(log) + 2)) * lgamma";
    assert!(codes(text).is_empty(), "{:?}", program("names.vi", text).rendered());
    // A function of the model's own with the name of one that the library uses.
    let text = "fn lbeta(a: real, b: real) -> real = 0
fn log(x: real) -> real = x
fn logit(p: real) -> bool = p > 0
data rows { y: real in (0, 1) }
latent a ~ Gamma(2, log(1))
observe y ~ Beta(a, exp(lbeta(1, 2)))";
    assert!(codes(text).is_empty(), "{:?}", program("names.vi", text).rendered());
}

#[test]
fn circles() {
    assert_eq!(codes("plate a = size(b)\nplate b = size(a)"), ["V0342", "V0342"]);
    assert_eq!(codes("plate a = size(a) + 1"), ["V0342"]);
    assert_eq!(codes("plate a = n\nconst n = size(a)"), ["V0203"]);
    assert_eq!(codes("const n = size(a)\nplate a = n"), ["V0342"]);
    assert_eq!(codes("const n = n + 1"), ["V0203"]);
    assert_eq!(codes("const n = m\nconst m = n"), ["V0203"]);
    assert_eq!(codes("fn f(x: real) -> real = f(x)"), ["V0214"]);
    assert_eq!(codes("fn f(x: real) -> real = g(x)\nfn g(x: real) -> real = f(x)").first(), Some(&"V0214"));
    assert_eq!(codes(&format!("{ROWS}let b = b\nobserve y ~ Normal(a * x, 1)")), ["V0203"]);
    assert_eq!(codes(&format!("{ROWS}latent c ~ Normal(c, 1)\nobserve y ~ Normal(a * x, 1)")), ["V0203"]);
    assert_eq!(codes("data rows { y: real in (y, 1) }\nobserve y ~ Normal(0, 1)"), [""; 0]);
    assert_eq!(codes("data rows { rows: real }"), ["V0201"]);
}

#[test]
fn extremes() {
    assert!(codes("").is_empty());
    assert!(codes("# nothing").is_empty());
    assert!(codes("data rows { }").is_empty());
    assert!(codes("data rows { }\nfactor 0").is_empty());
    assert!(codes("const c = 1 / 0\nconst d = 0 / 0\nconst e = -1 / 0\nfactor c + d + e").is_empty());
    assert_eq!(codes("plate k = 1 / 0"), ["V0342"]);
    assert_eq!(codes("plate k = 0 / 0"), ["V0342"]);
    assert_eq!(codes("plate k = -3"), ["V0342"]);
    assert_eq!(codes("plate k = 1e300"), ["V0342"]);
    assert_eq!(codes("plate k = nan"), ["V0342"]);
    assert_eq!(codes("plate k = range(0, 1e18)"), ["V0342"]);
    assert!(codes("plate k = 4 / 2\nlatent a[k] ~ Normal(0, 1)\nfactor a[2]").is_empty());
    assert!(codes("latent a: real in (0, inf) ~ flat()\nfactor a").is_empty());
    assert_eq!(codes("latent a: real > inf ~ flat()\nfactor a"), ["V0407"]);
    assert_eq!(codes("latent a: real > nan ~ flat()\nfactor a"), ["V0407"]);
    // Nothing that the user calls `nan` is taken for a mistake that was reported.
    assert!(codes("latent a ~ Normal(0, 1)\nlet n = nan\nfactor a + n").is_empty());
    assert_eq!(codes("latent a ~ Normal(0, 1)"), ["V1004"]);
    assert_eq!(codes("data rows { y: real }\nobserve y ~ Normal(0, 1)"), [""; 0]);
}

#[test]
fn library_bodies_are_blamed_on_the_call() {
    let text = "data rows { y: real, x: real[f] from \"x*\" }\nlatent b[f] ~ Normal(0, 1)\n\
                observe y ~ Normal(sum(standardize[f](x) * softmax(b) over f), 1)";
    assert!(codes(text).is_empty(), "{}", program("m.vi", text).rendered());
    for d in program("m.vi", "let a = softmax(3)\nlet b = standardize(1, 2)").diags.list {
        assert_eq!(d.span.map(|s| s.file.0), Some(0), "{d:?}");
    }
}
