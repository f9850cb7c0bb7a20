//! What each figure behind a verdict means, for `vic diagnose`: from `fit.json`, so that any fit can be asked later.

use std::fmt::Write;

use serde_json::Value;

use crate::diag::counted;

/// The figures of a fit with what they say, as text.
pub fn diagnosis(fit: &Value) -> String {
    let mut out = String::new();
    let mut say = |text: String| out.push_str(&(text + "\n"));
    let text = |v: &Value| v.as_str().unwrap_or("?").to_string();
    let verdict = &fit["verdict"];
    let headline = match verdict["trust"].as_str() {
        Some("trust") => "TRUST",
        Some("means_only") => "TRUST MEANS ONLY",
        Some(_) => "DO NOT TRUST",
        None => "No verdict: the fit was made by a version that gave none.",
    };
    let (model, guide, method) = (text(&fit["model"]), text(&fit["guide"]), text(&fit["method"]));
    say(format!("{headline}\n{model} · guide {guide} · method {method} · seed {}", fit["seed"]));
    if verdict["faults"].as_array().is_some_and(|f| !f.is_empty()) {
        say(String::new());
    }
    for fault in verdict["faults"].as_array().into_iter().flatten() {
        say(format!("- {}.{}", text(&fault["text"]), concerned(fault)));
    }
    if let Some(next) = verdict["next"].as_str() {
        say(format!("Next: {next}"));
    }
    if let Some(chosen) = fit["chosen"].as_array().filter(|c| !c.is_empty()) {
        say("\nChoice".into());
        chosen.iter().for_each(|c| say(format!("  {} {}: {}", text(&c["what"]), text(&c["value"]), text(&c["more"]))));
    }
    let figures = &verdict["figures"];
    say(format!("\nConvergence\n  {}", text(&fit["stop_reason"])));
    if let Some(error) = figures["mean_error"].as_f64() {
        say(format!(
            "  Monte Carlo error of the guide's means: {error:.3} sds. It comes from averaging over finitely many draws;\n  \
             0.05 is aimed at, `--draws` lowers it."
        ));
    }
    match (figures["definite"].as_bool(), figures["decrement"].as_f64()) {
        (Some(true), Some(gain)) => say(format!(
            "  The lower bound's curvature is definite, and another Newton step would gain {gain:.1e} nats (up to 0.01 is\n  \
             nothing): the guide stands at a maximum."
        )),
        (Some(false), _) => {
            say("  The lower bound's curvature at the guide is not definite: it stands on a ridge or a saddle.".into())
        }
        _ => {}
    }
    if fit["sds"] == "linear response" {
        say("  sds: linear response, that is how far the means move when the posterior is tilted. They take account of\n  \
             correlations, which the guide leaves out, and their lower bound is better than the guide's."
            .into());
    }
    if let Some(share) = figures["non_finite"].as_f64().filter(|s| *s > 0.0) {
        say(format!(
            "  {:.2} % of the evaluations of the log joint were not finite. A few are steps that went too far; many mean a\n  \
             guide that reaches where the model is not defined.",
            100.0 * share
        ));
    }
    units(fit, &mut say);
    starts(figures, &mut say);
    modes(fit, &mut say);
    weights(figures, &mut say);
    rows(figures, &mut say);
    drift(figures, &mut say);
    chains(fit, figures, &mut say);
    say(format!(
        "\nCost\n  {} gradients for the fit, {} evaluations with the tests of its draws.",
        fit["gradients"], fit["evaluations"]
    ));
    out
}

fn concerned(fault: &Value) -> String {
    let names: Vec<&str> = fault["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { String::new() } else { format!(" Concerned: {}.", names.join(", ")) }
}

fn units(fit: &Value, say: &mut impl FnMut(String)) {
    let Some(units) = fit["units"].as_array().filter(|u| !u.is_empty()) else { return };
    say("\nActive units\n  Of each unit of a row's latents: how much the mean that the guide gives it varies over the rows. Up to 0.01 the unit says\n  \
         nothing about its row: it has collapsed to its prior, and the model does without it."
        .into());
    for u in units {
        let variances: Vec<f64> = u["variances"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let shown: Vec<String> = variances.iter().take(20).map(|v| format!("{v:.3}")).collect();
        let more = if variances.len() > shown.len() { ", …" } else { "" };
        let name = u["latent"].as_str().unwrap_or("?");
        say(format!("  {name}: {} of {} active (variances {}{more})", u["active"], u["of"], shown.join(", ")));
    }
}

fn starts(figures: &Value, say: &mut impl FnMut(String)) {
    let Some(starts) = figures["starts"].as_array().filter(|s| !s.is_empty()) else { return };
    say("\nStarts\n  Each went downhill from another point. Starts that end at the same bound but with other means lie in other\n  \
         modes; within 5 nats and beyond half a sd they count as dissent."
        .into());
    for s in starts {
        let number = |name: &str| s[name].as_f64();
        match (number("below_best"), number("distance")) {
            (Some(below), Some(distance)) => say(format!(
                "  start {}: {below:.2} nats below the best, means at most {distance:.2} sds away{}",
                s["start"],
                if s["converged"] == Value::Bool(true) { "" } else { ", not converged" }
            )),
            _ => say(format!("  start {}: the log joint is not finite there", s["start"])),
        }
    }
}

fn modes(fit: &Value, say: &mut impl FnMut(String)) {
    let Some(modes) = fit["modes"].as_array().filter(|m| !m.is_empty()) else { return };
    say("\nModes\n  Each has a normal fitted to it; its weight is its share of the posterior mass around all of them, from importance\n  \
         weights of the draws of all these normals together. Modes that no start came to are not among them."
        .into());
    for mode in modes {
        let number = |v: &Value| v.as_f64().unwrap_or(f64::NAN);
        let k = number(&mode["k_hat"]);
        let at: Vec<String> = mode["at"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|a| {
                format!(
                    "{} = {:.3} (sd {:.3})",
                    a["name"].as_str().unwrap_or("?"),
                    number(&a["mean"]),
                    number(&a["sd"])
                )
            })
            .collect();
        say(format!(
            "  weight {:.3} ± {:.3} ({}): {}",
            number(&mode["weight"]),
            number(&mode["error"]),
            match mode["k_hat"].is_null() {
                // JSON has no minus infinity, the shape of no tail at all.
                true => "weights all alike".to_string(),
                false => format!("k-hat {k:.2}{}", if k < 0.7 { "" } else { ", not to be relied on" }),
            },
            at.join(", ")
        ));
    }
}

fn weights(figures: &Value, say: &mut impl FnMut(String)) {
    let Some(k) = figures["k_hat"].as_f64() else { return };
    let parts: Vec<String> = figures["k_hats"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .map(|k| format!("{k:.2}"))
        .collect();
    let meaning = match k {
        k if k < 0.5 => {
            "the weights have a finite variance: the guide covers the posterior, and resampling corrects the rest"
        }
        k if k < 0.7 => "the weights vary much, and can just be used",
        _ => "the guide's tails miss the posterior's: weights cannot correct it",
    };
    say(format!(
        "\nImportance weights\n  k-hat {k:.2} (in parts: {}):\n  {meaning}.\n  It grades the guide as a whole, and \
         only where the guide has draws: a mode that it never visits does not show.",
        parts.join(", ")
    ));
    let cells: Vec<String> = figures["k_hat_cells"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| Some(format!("{} {:.2}", c[0].as_str()?, c[1].as_f64()?)))
        .collect();
    if !cells.is_empty() {
        say(format!(
            "  Worst alone, each by the part of the weights that it explains by itself: {}.\n  There the posterior is wider than the guide.",
            cells.join(", ")
        ));
    }
    blocks(figures, say);
}

/// k-hat of rows, or of members.
fn rows(figures: &Value, say: &mut impl FnMut(String)) {
    let rows = &figures["k_hat_rows"];
    let (Some(n), Some(above)) = (rows["rows"].as_u64(), rows["above"].as_u64()) else { return };
    let quantile = |name: &str| rows[name].as_f64().map_or("weights all alike".into(), |k| format!("{k:.2}"));
    let (title, unit) = if rows["unit"] == "member" { ("Members", "member") } else { ("Rows", "row") };
    let meaning = match (above, unit) {
        (0, "row") => "weights of the guide's draws can correct what it says of a row, as `vic score --samples` does",
        (_, "row") => "there the row's posterior is wider than its guide; `vic score --samples` tells which rows",
        (0, _) => "weights of the guide's draws can correct what it says of a member and its rows",
        _ => "there the posterior of a member and its rows is wider than their guide",
    };
    let are = if above == 1 { "is" } else { "are" };
    say(format!(
        "\n{title}\n  Of {} from all over the table, the importance weights of {} each: the middle k-hat is {}, a tenth of\n  \
         the {unit}s is above {}, and {above} of them {are} above 0.7: {meaning}.",
        counted(n as usize, unit),
        counted(rows["draws"].as_u64().unwrap_or(0) as usize, "draw"),
        quantile("half"),
        quantile("tenth")
    ));
}

/// k-hat by block.
fn blocks(figures: &Value, say: &mut impl FnMut(String)) {
    let blocks = &figures["k_hat_blocks"];
    let (Some(judged), Some(above)) = (blocks["judged"].as_u64(), blocks["above"].as_u64()) else { return };
    let names = |v: &Value, most: usize| {
        let all: Vec<&str> = v.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let rest = all.len().saturating_sub(most);
        let shown = all[..all.len() - rest].join(", ");
        if rest > 0 { format!("{shown} and {rest} more") } else { shown }
    };
    let worst: Vec<String> = blocks["worst"]
        .as_array()
        .into_iter()
        .flatten()
        .take(5)
        .filter_map(|w| Some(format!("({}) {:.2}", names(&w[0], 4), w[1].as_f64()?)))
        .collect();
    let given = match names(&blocks["given"], 6) {
        none if none.is_empty() => "They do not interact with each other".to_string(),
        given => format!("Given {given} they do not interact with each other"),
    };
    let meaning = match above {
        0 => "every block's weights can be used: the k-hat of the whole is that of many small errors together",
        _ => "where k-hat is above 0.7 the guide is too narrow, given the rest",
    };
    say(format!(
        "  By block: {judged} small groups of latents. {given}, and each has\n  weights of its own: k-hat is above 0.7 in {above} of them; \
         {meaning}.\n  Highest: {}.",
        worst.join(", ")
    ));
}

fn drift(figures: &Value, say: &mut impl FnMut(String)) {
    let drift = &figures["drift"];
    let Some(acceptance) = drift["acceptance"].as_f64() else { return };
    say(format!(
        "\nDrift\n  Short Hamiltonian chains started at the reported draws (acceptance {acceptance:.2}{}). What they move was wrong\n  \
         by at least as much; that they move nothing is no proof. Means count from 0.1 sds on, log sds from 0.1.",
        if drift["valid"] == Value::Bool(true) { "" } else { ", too little movement to tell" }
    ));
    for row in drift["worst"].as_array().into_iter().flatten() {
        let (Some(name), Some(mean), Some(log_sd)) = (row[0].as_str(), row[1].as_f64(), row[2].as_f64()) else {
            continue;
        };
        if mean > 0.0 || log_sd > 0.0 {
            let mut line = format!("  {name}:");
            write!(line, " mean off by at least {mean:.2} sds, log sd by {log_sd:.2}").expect("a String takes all");
            say(line);
        }
    }
}

fn chains(fit: &Value, figures: &Value, say: &mut impl FnMut(String)) {
    let Some(r_hat) = figures["r_hat"].as_f64() else { return };
    if fit["chains"].as_u64().unwrap_or(0) == 0 {
        say(format!(
            "\nChains that moved the draws\n  R-hat {r_hat:.2}: the spread of all chains over that within one. Up to 1.05 these short chains have forgotten\n  \
             the guide's draws that they began with."
        ));
        if let Some(diverging) = figures["diverging"].as_f64() {
            say(format!(
                "  {:.2} % of their paths left the posterior. Above 1 % part of it is too narrow for them to come there.",
                100.0 * diverging
            ));
        }
        return;
    }
    let ess = figures["ess"].as_f64().unwrap_or(f64::NAN);
    say(format!(
        "\nChains\n  R-hat at most {r_hat:.3} (1.01 is the limit): whether the chains agree.\n  Effective draws, at least {ess:.0} (400 are needed): what the correlated draws are worth.\n  \
         Divergences: {}. Where the sampler's steps fail, the posterior is too narrow for them, and part of it is missing.",
        figures["divergences"]
    ));
}
