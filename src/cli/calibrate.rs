//! `vic calibrate MODEL [DATA…]`

use super::args::{CalibrateArgs, Inputs as Given};
use super::fit::method;
use super::progress::Counter;
use super::terminal::Terminal;
use super::{ERROR, NOT_CONVERGED, OK, files};
use crate::driver::{self, Calibration, FitRequest, Session, calibrate};
use crate::report::{calibrated, calibration, passes};
use crate::simulate::Rows;

pub fn run(args: &CalibrateArgs, terminal: &Terminal) -> u8 {
    let mut session = Session::default();
    let found = calibration_of(args, &mut session);
    terminal.complain_all(&session.diags, &session.sources);
    let Some(found) = found else { return ERROR };
    let scalars = calibrated(&found.positions);
    let mut text = format!("{} · {} fits of simulated data · seed {}\n", args.model, found.fits, args.seed);
    if found.failed > 0 {
        text += &format!("{} more simulations could not be fitted: their log joint is finite nowhere.\n", found.failed);
    }
    if found.distrusted > 0 {
        text += &format!(
            "{} of the fits came with the verdict DO NOT TRUST; they are counted all the same.\n",
            found.distrusted
        );
    }
    text += &format!("\n{}", calibration(&scalars, args.all));
    match terminal.print(&text) {
        OK if passes(&scalars) => OK,
        OK => NOT_CONVERGED,
        failed => failed,
    }
}

fn calibration_of(args: &CalibrateArgs, session: &mut Session) -> Option<Calibration> {
    let text = files::model(&args.model, &args.data).map_err(|d| session.diags.push(d)).ok()?;
    let given = Given { model: args.model.clone(), data: args.data.clone(), set: args.set.clone() };
    let inputs = files::inputs(&given);
    let mut checked = driver::check(session, &args.model, &text);
    let inputs = inputs.map_err(|errors| errors.into_iter().for_each(|d| session.diags.push(d))).ok()?;
    if session.diags.has_errors() {
        return None;
    }
    let rows = Rows::asked(&args.rows);
    let request =
        FitRequest { guide: args.guide, method: args.method.map(method), threads: Some(1), ..FitRequest::default() };
    driver::heed(&mut checked.hir, &request);
    let fit = |compiled: &driver::Compiled, seed: u64| {
        let options = driver::options(compiled, &FitRequest { seed: Some(seed), ..request.clone() });
        driver::fit(&mut Session::default(), compiled, &options, &mut |_| {})
    };
    let counter = Counter::new(args.sims as usize);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = args.threads.map_or(threads, |n| n as usize);
    let sims = args.sims as usize;
    let found = calibrate(session, &checked, &inputs, &rows, sims, args.seed, threads, &fit, &|n| counter.update(n));
    counter.finish();
    found
}
