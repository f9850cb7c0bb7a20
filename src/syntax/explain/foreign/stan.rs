//! Programs of Stan and BUGS: which block a line stands in, and so what it declares here.

use super::super::Place;
use crate::syntax::token::Token;

/// The block of a line, as Stan has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    Data,
    Parameters,
    /// `transformed data`, `transformed parameters`
    Transformed,
    Model,
    Generated,
}

/// The block that a line opens.
fn opened(line: &str) -> Option<Block> {
    let words: Vec<&str> = line.split('{').next()?.split_whitespace().collect();
    line.contains('{').then_some(())?;
    Some(match words.as_slice() {
        ["data"] => Block::Data,
        ["parameters"] => Block::Parameters,
        ["transformed", "data" | "parameters"] => Block::Transformed,
        ["model"] => Block::Model,
        ["generated", "quantities"] => Block::Generated,
        _ => return None,
    })
}

/// Each line with the block that it stands in.
fn blocks(text: &str) -> impl Iterator<Item = (usize, &str, Option<Block>)> {
    let mut block = None;
    let mut depth = 0i32;
    let mut at = 0;
    text.split('\n').map(move |line| {
        let start = at;
        at += line.len() + 1;
        if depth == 0 {
            block = opened(line);
        }
        let code = line.split("//").next().unwrap_or(line);
        depth += code.matches('{').count() as i32 - code.matches('}').count() as i32;
        depth = depth.max(0);
        (start, line, block)
    })
}

impl Place<'_, '_> {
    /// The block around the declaration.
    pub(in super::super) fn block(&self) -> Option<Block> {
        let at = self.tokens.get(self.first)?.0;
        blocks(self.text).take_while(|b| b.0 <= at).last()?.2
    }

    /// The block that declares a name with its type before it.
    pub(in super::super) fn declared_in(&self, name: &str) -> Option<Block> {
        blocks(self.text).find_map(|(_, line, block)| {
            let code = line.split("//").next().unwrap_or(line);
            let mut words = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty());
            let typed = super::super::start::our_type(words.next()?).is_some();
            (typed && !code.contains('~') && words.any(|w| w == name)).then_some(block).flatten()
        })
    }

    /// The table that has a column of this name.
    pub(in super::super) fn column(&self, name: &str) -> Option<&str> {
        let mut table = None;
        for i in 0..self.tokens.len() {
            match self.tokens[i].1 {
                Token::End => table = None,
                Token::Data => table = Some(i + 1),
                Token::Name(n) if n == name && table.is_some_and(|t| i > t) => {
                    let types = matches!(self.tokens.get(i + 1).map(|l| l.1), Some(Token::Colon | Token::Comma));
                    let names = matches!(self.tokens[i - 1].1, Token::LBrace | Token::Comma | Token::Newline);
                    if types && names {
                        return table.map(|t| self.word(t));
                    }
                }
                _ => {}
            }
        }
        None
    }
}
