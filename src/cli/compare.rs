//! `vic compare DIR REFERENCE`

use super::ERROR;
use super::args::CompareArgs;
use super::saved::{SavedFit, other};
use super::terminal::Terminal;
use crate::diag::Diagnostic;
use crate::report::{compare, comparison};
use crate::source::Sources;

pub fn run(args: &CompareArgs, terminal: &Terminal) -> u8 {
    match compared(args) {
        Ok(text) => terminal.print(&text),
        Err(d) => {
            terminal.complain(&d, &Sources::default());
            ERROR
        }
    }
}

fn compared(args: &CompareArgs) -> Result<String, Diagnostic> {
    let (fit, reference) = (SavedFit::read(&args.fit)?, SavedFit::read(&args.reference)?);
    let found = compare(&fit.columns, &fit.draws, &reference.draws);
    if found.is_empty() {
        return Err(other(&args.reference, &format!("nothing in `{}` has a name that is in both fits", args.fit)));
    }
    if args.json {
        let json = serde_json::json!({
            "fit": args.fit,
            "reference": args.reference,
            "k_hat": fit.json["k_hat"],
            "differences": found,
        });
        return Ok(format!("{json:#}\n"));
    }
    let k_hat = fit.json["k_hat"].as_f64().map(|k| format!(" · k-hat {k:.2}")).unwrap_or_default();
    let method = |f: &SavedFit| f.json["method"].as_str().unwrap_or("?").to_string();
    let heading = format!(
        "{} (method {}{k_hat}) beside {} (method {})\n\n",
        args.fit,
        method(&fit),
        args.reference,
        method(&reference)
    );
    Ok(heading + &comparison(&found, args.all))
}
