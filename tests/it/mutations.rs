//! Programs with a slip of the pen: whatever comes of it, there is an answer. Tokens of good programs are dropped,
//! swapped, doubled or replaced; the result is checked, and derived if nothing is wrong with it.

use super::programs::examined;
use super::syntax::models;
use proptest::prelude::*;
use vic::syntax::token::lex;

/// One slip: where, and what, as numbers that are taken modulo what there is.
type Slip = (usize, usize, usize);

/// The text with a slip at one of its tokens. `others` are the tokens of all programs.
fn slipped(text: &str, (kind, place, other): Slip, others: &[&str]) -> String {
    let tokens = lex(text);
    if tokens.len() < 2 {
        return text.to_string();
    }
    let (start, _, end) = tokens[place % tokens.len()];
    let (before, this, after) = (&text[..start], &text[start..end], &text[end..]);
    match kind % 5 {
        0 => format!("{before}{after}"),
        1 => format!("{before}{this} {this}{after}"),
        2 => {
            let i = place % (tokens.len() - 1);
            let ((a, _, b), (c, _, d)) = (tokens[i], tokens[i + 1]);
            format!("{}{}{}{}{}", &text[..a], &text[c..d], &text[b..c], &text[a..b], &text[d..])
        }
        // A word of this program in place of another: the slip that parses most often.
        3 => {
            let (a, _, b) = tokens[other % tokens.len()];
            format!("{before}{}{after}", &text[a..b])
        }
        _ => format!("{before}{}{after}", others[other % others.len()]),
    }
}

/// A declaration moved to another line.
fn reordered(text: &str, from: usize, to: usize) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let line = lines.remove(from % lines.len());
    lines.insert(to % (lines.len() + 1), line);
    lines.join("\n")
}

fn cases() -> ProptestConfig {
    // `PROPTEST_CASES` asks for more.
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1500);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn every_slip_is_answered() {
    let programs: Vec<String> = models().into_iter().map(|(_, text)| text).collect();
    let others: Vec<&str> = programs.iter().flat_map(|p| lex(p).into_iter().map(move |(a, _, b)| &p[a..b])).collect();
    let slip = (any::<usize>(), any::<usize>(), any::<usize>());
    let strategy =
        (any::<usize>(), prop::collection::vec(slip, 1..4), prop::option::of((any::<usize>(), any::<usize>())));
    let mut accepted = 0;
    let mut runner = proptest::test_runner::TestRunner::new(cases());
    let count = std::cell::Cell::new(0);
    runner
        .run(&strategy, |(which, slips, moved)| {
            let mut text = programs[which % programs.len()].clone();
            if let Some((from, to)) = moved {
                text = reordered(&text, from, to);
            }
            for s in slips {
                text = slipped(&text, s, &others);
            }
            let answered = std::panic::catch_unwind(|| examined(&text));
            let Ok(right) = answered else { return Err(TestCaseError::fail(format!("panicked on\n{text}"))) };
            count.set(count.get() + usize::from(right));
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    accepted += count.get();
    // Otherwise nothing was derived, and half of the test is empty.
    assert!(accepted > 0, "no program was accepted");
}
