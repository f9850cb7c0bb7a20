//! What the command line accepts.

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::deny::Deny;
use crate::infer::GuideKind;

const EXIT_CODES: &str = "\
Exit codes:
  0    no error; a fit converged
  1    an error in the model, the data or the value of a flag
  2    the arguments do not form a command
  3    the fit did not converge, or falls short of --require (its results are written and printed all the same)
  130  interrupted";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// A compiler for probabilistic models: a .vi file and data in, a posterior out.
#[derive(Parser, Debug)]
#[command(name = "vic", version, styles = STYLES, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Fit a model to data and print the posterior
    Fit(FitArgs),
    /// Report errors and warnings of models, and of data files given with one
    Check(CheckArgs),
    /// Print what the compiler makes of a model
    Show(ShowArgs),
    /// Draw data sets from a model: latents from their priors, then what it observes
    Simulate(SimulateArgs),
    /// Predict the fitted rows, or new ones, from the draws of a fit
    Predict(PredictArgs),
    /// Posterior of the latents of each row, in one pass through the guide
    Encode(EncodeArgs),
    /// How well a fit explains each row: its lower bound, or its log likelihood
    Score(ScoreArgs),
    /// Draw new rows from a fit
    Generate(GenerateArgs),
    /// Fill in the empty cells of rows
    Impute(ImputeArgs),
    /// Say what each figure behind a fit's verdict means
    Diagnose(DiagnoseArgs),
    /// Set one fit beside another, a guide beside the sampler
    Compare(CompareArgs),
    /// Fit simulated data sets, and see whether the true values lie where the posteriors say
    Calibrate(CalibrateArgs),
    /// Lay models out as their readers expect
    Fmt(FmtArgs),
    /// Explain a diagnostic code, such as V0301
    Explain(ExplainArgs),
    /// Serve an editor: the language server, over standard input and output
    Lsp(LspArgs),
}

/// The model with its data.
#[derive(Args, Clone, Debug)]
pub struct Inputs {
    /// The model, a .vi file
    pub model: String,
    /// CSV, JSON, Parquet or Arrow files: FILE for the only table, TABLE=FILE where there are several
    #[arg(value_name = "[TABLE=]FILE")]
    pub data: Vec<String>,
    /// Give a constant or a data value of the model
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct FitArgs {
    #[command(flatten)]
    pub inputs: Inputs,
    /// The family that approximates the posterior [default: the model's, else chosen by size]
    #[arg(long, value_parser = guide)]
    pub guide: Option<GuideKind>,
    /// How the posterior is approximated [default: the model's, else auto]
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// How `adam` takes the lower bound's gradient [default: the model's, else entropy]
    #[arg(long, value_enum)]
    pub estimator: Option<Estimator>,
    /// Draws that `iwae` and `forward-kl` weigh together [default: the model's, else 10 and 256]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub importance_samples: Option<u32>,
    /// Seed of every random draw; the same seed gives the same results [default: the model's, else 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Draws that the objective averages over, or that each chain of `nuts` keeps [default: chosen by the fit; 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub draws: Option<u32>,
    /// Starting points [default: the model's, else 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub starts: Option<u32>,
    /// Threads; results do not depend on their number [default: all cores, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Read the table of a fit in batches in pieces if its CSV file has more than so many MB, and keep its numbers on disk
    #[arg(long, value_name = "MB", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub memory: u32,
    /// Write draws.csv, summary.json, fit.json and trace.csv to this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<String>,
    /// Keep in this file what is needed to go on after Ctrl-C or a crash; it is removed when the fit is done
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<String>,
    /// Go on from the checkpoint, to the same result as without the interruption
    #[arg(long, requires = "checkpoint")]
    pub resume: bool,
    /// Let --out replace an earlier fit, and print intervals that are not to be trusted
    #[arg(long)]
    pub force: bool,
    /// Exit with 3 unless the verdict is at least this
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub require: Option<Require>,
    #[command(flatten)]
    pub deny: Deny,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
    /// Print every cell of long variables
    #[arg(long, conflicts_with = "json")]
    pub all: bool,
    /// Print no table and no progress, only what is wrong
    #[arg(long, short, conflicts_with_all = ["json", "all"])]
    pub quiet: bool,
}

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct CheckArgs {
    /// Models, .vi files; after a single one also its data, as for `vic fit`, which are then checked against it
    #[arg(required = true, value_name = "MODEL|DATA")]
    pub files: Vec<String>,
    /// Give a constant or a data value of the model
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// How the diagnostics are printed
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// Make the suggested edits that can only be what was meant, and say what is left
    #[arg(long)]
    pub fix: bool,
    /// Check again whenever a file changes, until interrupted
    #[arg(long, conflicts_with = "fix")]
    pub watch: bool,
    #[command(flatten)]
    pub deny: Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal
    Human,
    /// One JSON object
    Json,
    /// SARIF 2.1.0, which code hosts and editors read
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

#[derive(Args, Debug)]
pub struct ShowArgs {
    /// What to print; `graph` and `kernels` need data
    #[arg(long, value_enum)]
    pub stage: Stage,
    #[command(flatten)]
    pub inputs: Inputs,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("to").required(true))]
pub struct SimulateArgs {
    /// The model, a .vi file
    pub model: String,
    /// Files with what the model does not observe: FILE for the only table, TABLE=FILE where there are several
    #[arg(value_name = "[TABLE=]FILE")]
    pub data: Vec<String>,
    /// Rows of each table without a file, or of one: TABLE=N
    #[arg(long, value_name = "[TABLE=]N", value_parser = rows)]
    pub rows: Vec<(Option<String>, usize)>,
    /// Give a constant, a data value, a latent or one cell of it: --set 'theta[Choate]=2'
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Seed of every random draw; the same seed gives the same data
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write TABLE.csv for each table, and truth.csv with the latents, to this directory
    #[arg(long, value_name = "DIR", group = "to")]
    pub out: Option<String>,
    /// Write the only table to this file, and print the latents
    #[arg(long, value_name = "FILE", group = "to")]
    pub csv: Option<String>,
    /// Overwrite files that exist
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Debug)]
pub struct PredictArgs {
    /// The model of the fit, a .vi file
    pub model: String,
    /// The directory that `vic fit --out` wrote
    #[arg(value_name = "DIR")]
    pub fit: String,
    /// Files with new rows; without any, the fitted rows are predicted
    #[arg(value_name = "[TABLE=]FILE")]
    pub data: Vec<String>,
    /// Write the draws to this CSV file
    #[arg(long, value_name = "FILE")]
    pub out: Option<String>,
    /// Draws of each predicted value, at most those of the fit
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub draws: u32,
    /// Seed of every random draw
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print every row of long tables
    #[arg(long)]
    pub all: bool,
    /// Overwrite the file of --out
    #[arg(long, requires = "out")]
    pub force: bool,
}

/// Rows, and the fit that is asked about them.
#[derive(Args, Debug)]
pub struct RowArgs {
    /// The model of the fit, a .vi file
    pub model: String,
    /// The directory that `vic fit --out` wrote
    #[arg(value_name = "DIR")]
    pub fit: String,
    /// A file with rows, TABLE=FILE where there are several tables; without one, the fitted rows
    #[arg(value_name = "[TABLE=]FILE", num_args = 0..=1)]
    pub data: Vec<String>,
    /// Write the table to this CSV file instead of printing it
    #[arg(long, value_name = "FILE")]
    pub out: Option<String>,
    /// Overwrite files that exist
    #[arg(long)]
    pub force: bool,
    /// Seed of every random draw; results do not depend on how rows are put together
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Threads; results do not depend on their number [default: all cores, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
}

/// A picture of rows that are images.
#[derive(Args, Debug)]
pub struct SheetArgs {
    /// Write the rows of a vector column as small images side by side to this PNG file
    #[arg(long, value_name = "FILE")]
    pub png: Option<String>,
    /// Pixels in a line of an image [default: square images]
    #[arg(long, value_name = "PIXELS", requires = "png")]
    pub width: Option<u32>,
}

#[derive(Args, Debug)]
pub struct EncodeArgs {
    #[command(flatten)]
    pub rows: RowArgs,
    /// Draws of each row's latents, instead of their means and sds
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub draws: u32,
    /// Steps by which each row's guide is optimised from where the encoder puts it
    #[arg(long, value_name = "STEPS", default_value_t = 0, hide_default_value = true)]
    pub refine: u32,
    /// Instead of the latents, what the model expects of the observed columns given them
    #[arg(long, conflicts_with = "draws")]
    pub reconstruct: bool,
    #[command(flatten)]
    pub sheet: SheetArgs,
}

#[derive(Args, Debug)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub rows: RowArgs,
    /// The log likelihood by so many importance weights, instead of the lower bound
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: Option<u32>,
    /// Steps by which each row's guide is optimised from where the encoder puts it
    #[arg(long, value_name = "STEPS", default_value_t = 0, hide_default_value = true)]
    pub refine: u32,
}

#[derive(Args, Debug)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub rows: RowArgs,
    /// How many rows, where no file of covariates says so itself [default: 100]
    #[arg(short = 'n', long = "rows", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub number: Option<u32>,
    /// Write what is expected of the observed columns given the latents, instead of drawing them
    #[arg(long)]
    pub expected: bool,
    #[command(flatten)]
    pub sheet: SheetArgs,
}

#[derive(Args, Debug)]
pub struct ImputeArgs {
    #[command(flatten)]
    pub rows: RowArgs,
    /// So many completed copies of the rows, instead of means and sds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub draws: Option<u32>,
    /// Steps by which each row's guide is optimised in each sweep
    #[arg(long, value_name = "STEPS", default_value_t = 0, hide_default_value = true)]
    pub refine: u32,
    #[command(flatten)]
    pub sheet: SheetArgs,
}

#[derive(Args, Debug)]
pub struct CalibrateArgs {
    /// The model, a .vi file
    pub model: String,
    /// CSV files with what the model does not observe: FILE for the only table, TABLE=FILE where there are several
    #[arg(value_name = "[TABLE=]FILE")]
    pub data: Vec<String>,
    /// Rows of each table without a file, or of one: TABLE=N
    #[arg(long, value_name = "[TABLE=]N", value_parser = rows)]
    pub rows: Vec<(Option<String>, usize)>,
    /// Give a constant, a data value, or a latent that is not to be drawn
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Data sets to simulate and fit
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    pub sims: u32,
    /// The guide of every fit
    #[arg(long, value_parser = guide)]
    pub guide: Option<GuideKind>,
    /// The method of every fit
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// Seed of the first data set; the others follow
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Fits at the same time [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Print every scalar
    #[arg(long)]
    pub all: bool,
}

#[derive(Args, Debug)]
pub struct DiagnoseArgs {
    /// The directory that `vic fit --out` wrote
    #[arg(value_name = "DIR")]
    pub fit: String,
}

#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The directory of the fit in question
    #[arg(value_name = "DIR")]
    pub fit: String,
    /// The directory of the fit that it is held to, such as one by `--method nuts`
    pub reference: String,
    /// Print every cell, not only those that differ most
    #[arg(long)]
    pub all: bool,
    /// Print one JSON object instead of the table
    #[arg(long, conflicts_with = "all")]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct FmtArgs {
    /// Models, .vi files; each is rewritten in place
    #[arg(required_unless_present = "stdin", value_name = "FILE")]
    pub files: Vec<String>,
    /// Change nothing; print the names of files that would change, and exit with 1 if there are any
    #[arg(long)]
    pub check: bool,
    /// Read a model from standard input and print it
    #[arg(long, conflicts_with = "files")]
    pub stdin: bool,
}

#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// A diagnostic code: V0301, or 301; without one, all codes are listed
    pub code: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// What suits the model; the fit says which and why
    Auto,
    /// L-BFGS on the lower bound over fixed draws
    Lbfgs,
    /// Stochastic gradient steps on the lower bound, with fresh draws
    Adam,
    /// Batch and match: a normal whose scores match the posterior's
    Bam,
    /// The mode, and the curvature there
    Laplace,
    /// The best of the normals on the way to the mode
    Pathfinder,
    /// The mode alone: a point, without uncertainty
    Map,
    /// As adam, by the score function: no slopes of the log joint
    Score,
    /// As adam, on the importance-weighted bound
    Iwae,
    /// As adam, on the inclusive divergence
    ForwardKl,
    /// Factors in closed form, one after the other, for conjugate models
    Cavi,
    /// The same for params: the point that maximises the likelihood
    Em,
    /// No guide: the No-U-Turn sampler, four chains
    Nuts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Estimator {
    /// With the guide's entropy in closed form
    Entropy,
    /// Sticking the landing: no noise where the guide is the posterior
    Stl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Require {
    /// Means and intervals
    Trust,
    /// Means at least
    Means,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The program as it was parsed
    Ast,
    /// Names with their plates, types and supports
    Types,
    /// The log joint on the unconstrained scale
    Joint,
    /// What integrates out exactly, and why not the rest
    Structure,
    /// The guide
    Guide,
    /// The loop nests for these data
    Graph,
    /// The compiled kernels
    Kernels,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write it as NAME=VALUE, for instance `--set K=3`".into()),
    }
}

fn guide(text: &str) -> Result<GuideKind, String> {
    GuideKind::parse(text).ok_or("write `meanfield`, `fullrank`, `'lowrank(10)'`, `'mixture(2)'` or `'flow(4)'`".into())
}

fn rows(text: &str) -> Result<(Option<String>, usize), String> {
    let (table, count) = match text.split_once('=') {
        Some((table, count)) => (Some(table.trim().to_owned()), count),
        None => (None, text),
    };
    match count.trim().parse() {
        Ok(n @ 1..=100_000_000) => Ok((table, n)),
        _ => Err("write a number of rows, for instance `--rows 100` or `--rows houses=100`".into()),
    }
}

#[derive(Args, Debug)]
pub struct LspArgs {
    /// What editors say by habit; it is the only way to talk to the server
    #[arg(long)]
    pub stdio: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_line_of_the_readme_parses() {
        let line =
            "vic fit radon.vi houses=houses.csv counties=counties.csv --guide fullrank --seed 7 --set K=3 --out fit/";
        let Command::Fit(args) = Cli::try_parse_from(line.split(' ')).expect("a valid line").command else {
            panic!("another command")
        };
        assert_eq!(args.inputs.data, ["houses=houses.csv", "counties=counties.csv"]);
        assert_eq!(args.inputs.set, [("K".to_owned(), "3".to_owned())]);
        assert_eq!((args.guide, args.seed, args.out.as_deref()), (Some(GuideKind::FullRank), Some(7), Some("fit/")));
    }

    #[test]
    fn wrong_flags_say_what_is_meant() {
        let error = |line: &str| Cli::try_parse_from(line.split(' ')).expect_err("refused").to_string();
        assert!(error("vic fit m.vi --giude fullrank").contains("--guide"));
        assert!(error("vic fit m.vi --guide ful").contains("fullrank"));
        assert!(error("vic fit m.vi --guide lowrank(0)").contains("lowrank(10)"));
        assert!(error("vic fit m.vi --set K").contains("NAME=VALUE"));
        assert!(error("vic fit m.vi --require all").contains("trust"));
        assert!(error("vic fitt m.vi").contains("fit"));
        assert!(error("vic fit m.vi --starts 0").contains("1..=10000"));
    }
}
