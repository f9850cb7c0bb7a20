//! Expressions, types and everything else inside a declaration: spaces between tokens, and where lines may break.

use super::block;
use super::doc::{Doc, concat, group, indent, text};
use super::tree::{Leaf, Node};
use crate::syntax::token::Token;

/// Binary operators, loosest first. A long expression breaks before the loosest ones.
const LEVELS: &[&[Token<'static>]] = &[
    &[Token::Pipe],
    &[Token::Or],
    &[Token::And],
    &[Token::Less, Token::LessEq, Token::Greater, Token::GreaterEq, Token::EqualEqual, Token::NotEqual],
    &[Token::Plus, Token::Minus],
    &[Token::Star, Token::Slash],
];

/// A token with its comments.
pub fn leaf(leaf: &Leaf<'_>) -> Doc {
    let mut parts: Vec<Doc> = leaf.before.iter().map(|r| Doc::Own(r.text.clone())).collect();
    parts.push(text(leaf.text));
    parts.extend(leaf.after.iter().map(|r| Doc::Trailing(r.text.clone())));
    if parts.len() == 1 { parts.remove(0) } else { concat(parts) }
}

/// Whether an expression breaks inside its own brackets rather than at operators, so that it starts on the line of its
/// `=`.
pub fn hugs(nodes: &[Node<'_>]) -> bool {
    !nodes.first().is_some_and(|n| n.is(Token::If))
        && loosest(nodes).is_none()
        && position(nodes, Token::Over).is_none()
}

fn position(nodes: &[Node<'_>], token: Token<'_>) -> Option<usize> {
    nodes.iter().position(|n| n.is(token))
}

/// The loosest operators that stand between operands at this level of brackets.
fn loosest(nodes: &[Node<'_>]) -> Option<&'static [Token<'static>]> {
    LEVELS.iter().copied().find(|level| !places(nodes, level).is_empty())
}

/// Where binary operators of a level stand.
fn places(nodes: &[Node<'_>], level: &[Token<'_>]) -> Vec<usize> {
    let binary = |i: &usize| nodes[*i].token().is_some_and(|t| level.contains(&t)) && !is_sign(nodes, *i);
    (0..nodes.len()).filter(binary).collect()
}

/// Whether the token at this place is the minus of a negative.
fn is_sign(nodes: &[Node<'_>], i: usize) -> bool {
    nodes[i].is(Token::Minus)
        && i.checked_sub(1).is_none_or(|p| nodes[p].token().is_some_and(|t| t.cannot_end() && !t.is_closer()))
}

/// An expression; `inside`: it does not start its line, so that what is broken from it is indented.
pub fn expr(source: &str, nodes: &[Node<'_>], inside: bool) -> Doc {
    if let [name, colon, value @ ..] = nodes
        && colon.is(Token::Colon)
        && !value.is_empty()
    {
        let label = seq(source, std::slice::from_ref(name));
        return concat(vec![label, seq(source, std::slice::from_ref(colon)), text(" "), expr(source, value, true)]);
    }
    let shifted = |doc: Doc| if inside { indent(doc) } else { doc };
    if nodes.first().is_some_and(|n| n.is(Token::If))
        && let Some(doc) = conditional(source, nodes)
    {
        return group(shifted(doc));
    }
    if let Some(over) = position(nodes, Token::Over).filter(|i| *i > 0) {
        let rest = indent(concat(vec![Doc::Line, seq(source, &nodes[over..])]));
        return group(concat(vec![expr(source, &nodes[..over], inside), rest]));
    }
    let words = [Token::In, Token::By, Token::Along, Token::Where, Token::From, Token::Without, Token::On, Token::At];
    if nodes.iter().any(|n| n.token().is_some_and(|t| words.contains(&t))) {
        return seq(source, nodes);
    }
    let Some(level) = loosest(nodes) else { return seq(source, nodes) };
    let places = places(nodes, level);
    let mut parts = vec![];
    for (k, &at) in places.iter().enumerate() {
        let end = places.get(k + 1).copied().unwrap_or(nodes.len());
        parts.push(Doc::Line);
        parts.push(seq(source, &nodes[at..=at]));
        parts.push(text(" "));
        parts.push(expr(source, &nodes[at + 1..end], true));
    }
    let first = expr(source, &nodes[..places[0]], inside);
    group(concat(vec![first, shifted(concat(parts))]))
}

/// `if … then … else …`, a chain of them with one branch per line where they do not fit on one.
fn conditional(source: &str, nodes: &[Node<'_>]) -> Option<Doc> {
    let then = matching(nodes, 1, Token::Then)?;
    let otherwise = matching(nodes, then + 1, Token::Else)?;
    let word = |i: usize| seq(source, &nodes[i..=i]);
    let branch = group(concat(vec![
        word(0),
        text(" "),
        expr(source, &nodes[1..then], true),
        indent(concat(vec![Doc::Line, word(then), text(" "), expr(source, &nodes[then + 1..otherwise], true)])),
    ]));
    let last = &nodes[otherwise + 1..];
    let last = match last.first().filter(|n| n.is(Token::If)).and_then(|_| conditional(source, last)) {
        Some(chain) => chain,
        None => expr(source, last, true),
    };
    Some(concat(vec![branch, Doc::Line, word(otherwise), text(" "), last]))
}

/// The `then` or `else` of an `if` whose part starts at `from`.
fn matching(nodes: &[Node<'_>], from: usize, token: Token<'_>) -> Option<usize> {
    let mut depth = 0;
    for (i, node) in nodes.iter().enumerate().skip(from) {
        match node.token() {
            Some(t) if t == token && depth == 0 => return Some(i),
            Some(Token::If) => depth += 1,
            Some(Token::Else) => depth = usize::checked_sub(depth, 1)?,
            _ => {}
        }
    }
    None
}

/// Tokens one after the other, with their spaces.
pub fn seq(source: &str, nodes: &[Node<'_>]) -> Doc {
    let mut parts = vec![];
    for (i, node) in nodes.iter().enumerate() {
        if i > 0 {
            if nodes[i - 1].is(Token::Comma) {
                parts.push(group(indent(Doc::Line)));
            } else if spaced(source, nodes, i) {
                parts.push(text(" "));
            }
        }
        parts.push(match node {
            Node::Leaf(l) => leaf(l),
            Node::Bracket { open, .. } if open.token == Token::LBrace => block(source, node),
            Node::Bracket { open, .. } => {
                let index = open.token == Token::LBracket && i > 0 && !spaced(source, nodes, i);
                bracket(source, node, index)
            }
        });
    }
    if parts.len() == 1 { parts.remove(0) } else { concat(parts) }
}

/// Whether a space stands before node `i`.
fn spaced(source: &str, nodes: &[Node<'_>], i: usize) -> bool {
    use Token::*;
    let (prev, next) = (&nodes[i - 1], nodes[i].opening());
    if matches!(next, Comma | Colon | Semicolon | Question | DotDot | Caret) || is_sign(nodes, i - 1) {
        return false;
    }
    match (prev.token(), next) {
        // `2.x` would be read as a number.
        (Some(Number(_)), Dot) => true,
        (Some(Dot | DotDot | At | Caret), _) | (_, Dot) => false,
        (_, LBrace) => true,
        // The levels of a category.
        (Some(Name("category")), LBracket) => {
            // A byte order mark counts as space, as for the lexer.
            let before = source[..prev.start()].trim_end_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            before.ends_with(':')
        }
        (Some(Name(_) | Text(_) | Question) | None, LParen | LBracket) => false,
        _ => true,
    }
}

/// `( … )` or `[ … ]`; an index holds `t-1` without spaces.
pub fn bracket(source: &str, node: &Node<'_>, index: bool) -> Doc {
    let Node::Bracket { open, inner, close, .. } = node else { unreachable!("called with a bracket") };
    let mut parts = vec![];
    let mut items: Vec<Vec<Node<'_>>> = vec![vec![]];
    let mut commas: Vec<&Leaf<'_>> = vec![];
    for node in inner {
        match node {
            Node::Leaf(l) if l.token == Token::Comma => {
                commas.push(l);
                items.push(vec![]);
            }
            _ => items.last_mut().expect("starts with one").push(node.clone()),
        }
    }
    let atom = |i: &Vec<Node<'_>>| i.len() == 1 && i[0].token().is_some();
    let filled = items.len() > 3 && items.iter().filter(|i| !i.is_empty()).all(atom);
    let count = items.iter().filter(|i| !i.is_empty()).count();
    for (k, mut item) in items.into_iter().enumerate() {
        let after = item.last_mut().and_then(|n| n.last().after.take());
        if !item.is_empty() {
            // Comments above an item do not break it.
            let above = item.first_mut().map(|n| std::mem::take(&mut n.first().before)).unwrap_or_default();
            parts.extend(above.into_iter().map(|r| Doc::Own(r.text)));
            if k > 0 {
                parts.push(if filled { group(Doc::Line) } else { Doc::Line });
            }
            parts.push(if index && tight(&item) { glued(&item) } else { expr(source, &item, false) });
        }
        // A comma after the last one goes, its comments stay.
        let comma = commas.get(k).copied();
        if comma.is_some() && k + 1 < count {
            parts.push(text(","));
        }
        parts.extend(after.map(|r| Doc::Trailing(r.text)));
        // Comments above a comma follow it, and so does then the one behind it.
        let (above, behind) = comma.map_or((&[][..], None), |c| (&c.before[..], c.after.as_ref()));
        parts.extend(above.iter().map(|r| Doc::Own(r.text.clone())));
        parts.extend(behind.map(|r| r.text.clone()).map(if above.is_empty() { Doc::Trailing } else { Doc::Own }));
    }
    let mut end = close.clone();
    parts.extend(std::mem::take(&mut end.before).into_iter().map(|r| Doc::Own(r.text)));
    let after = end.after.take();
    let mut start = open.clone();
    let before: Vec<Doc> = std::mem::take(&mut start.before).into_iter().map(|r| Doc::Own(r.text)).collect();
    let body = match parts.is_empty() {
        true => concat(vec![leaf(&start), leaf(&end)]),
        false => {
            group(concat(vec![leaf(&start), indent(concat([vec![Doc::Soft], parts].concat())), Doc::Soft, leaf(&end)]))
        }
    };
    let after = after.map(|r| Doc::Trailing(r.text));
    concat(before.into_iter().chain([body]).chain(after).collect())
}

/// Whether this is a lag: a name and a number, or another name.
fn tight(item: &[Node<'_>]) -> bool {
    let [name, sign, step] = item else { return false };
    let quiet = |n: &Node<'_>| matches!(n, Node::Leaf(l) if l.before.is_empty() && l.after.is_none());
    matches!(name.token(), Some(Token::Name(_)))
        && matches!(sign.token(), Some(Token::Minus | Token::Plus))
        && matches!(step.token(), Some(Token::Name(_) | Token::Number(_)))
        && item.iter().all(quiet)
}

fn glued(item: &[Node<'_>]) -> Doc {
    let leaves = item.iter().map(|n| match n {
        Node::Leaf(l) => l.text,
        Node::Bracket { .. } => unreachable!("only of leaves"),
    });
    text(leaves.collect::<String>())
}
