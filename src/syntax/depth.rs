//! A bound on how deep an expression can nest, so that no later recursion over the tree can exhaust the stack.

use super::token::{Lexeme, Token};
use crate::diag::{Code, Diags};
use crate::source::{FileId, Span};

/// Trees stay shallower than this. A sum of a thousand terms nests a thousand deep.
const LIMIT: usize = 1000;

/// One open bracket: signs in the current item, the deepest bracket within it, the deepest item before it.
#[derive(Clone, Copy, Default)]
struct Level {
    signs: usize,
    inner: usize,
    best: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.best.max(self.signs + self.inner)
    }

    fn next_item(&mut self) {
        *self = Level { best: self.depth(), ..Level::default() };
    }
}

/// Replace each declaration that nests too deep by one `Bad` token, and report it.
pub fn limit(file: FileId, tokens: &mut Vec<Lexeme<'_>>, damaged: &mut Vec<usize>, diags: &mut Diags) {
    let mut deep = vec![];
    let mut start = 0;
    for part in tokens.split_inclusive(|l| l.1 == Token::End) {
        let stop = start + part.len() - usize::from(part.last().is_some_and(|l| l.1 == Token::End));
        if let Some(at) = too_deep(part) {
            let (from, _, to) = part[at];
            diags.push(
                Code::TOO_DEEP
                    .at(Span::new(file, from, to), format!("more than {LIMIT} operations nest in one expression"))
                    .help("name parts of it with `let`, or write it as a `sum(… over plate)`"),
            );
            damaged.push(from);
            deep.push(start..stop);
        }
        start += part.len();
    }
    if deep.is_empty() {
        return;
    }
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    for range in deep {
        kept.extend_from_slice(&tokens[at..range.start]);
        kept.push((tokens[range.start].0, Token::Bad, tokens[range.end - 1].2));
        at = range.end;
    }
    kept.extend_from_slice(&tokens[at..]);
    *tokens = kept;
}

/// The first token at which a declaration's tree may be deeper than the limit.
fn too_deep(tokens: &[Lexeme<'_>]) -> Option<usize> {
    let mut levels = vec![Level::default()];
    for (i, (_, token, _)) in tokens.iter().enumerate() {
        let last = levels.len() - 1;
        match token {
            _ if token.closer().is_some() => levels.push(Level::default()),
            _ if token.is_closer() && last > 0 => {
                let inner = levels.pop().expect("more than one").depth() + 1;
                // A call of a call, `f(a)(b)`, nests as well.
                levels[last - 1].signs += 1;
                levels[last - 1].inner = levels[last - 1].inner.max(inner);
            }
            Token::Comma | Token::Newline | Token::Semicolon => levels[last].next_item(),
            Token::If | Token::Then | Token::Else | Token::Not | Token::Dot => levels[last].signs += 1,
            _ if token.is_infix() => levels[last].signs += 1,
            _ => {}
        }
        let below: usize = levels.iter().map(|l| l.signs).sum();
        if levels.len() + below > LIMIT || levels[levels.len() - 1].depth() > LIMIT {
            return Some(i);
        }
    }
    None
}
