//! A program laid out for its readers. It goes by tokens, so that parentheses and numbers stay as they were written;
//! line breaks go only where the language drops them.

mod doc;
mod expr;
mod tree;

use doc::{Doc, concat, group, indent, text};
use expr::{expr, hugs, leaf, seq};
use tree::{Node, Remark, tree};

use super::token::Token;

/// The text of a program without errors of syntax, laid out. Doing it again changes nothing.
pub fn format(source: &str) -> String {
    let tree = tree(source);
    let mut lines = Lines { source, parts: vec![], end: None };
    for mut nodes in tree.decls {
        lines.item(&mut nodes, |nodes| statement(source, nodes));
    }
    for remark in &tree.rest {
        lines.remark(remark);
    }
    doc::print(&concat(lines.parts))
}

/// Things that each start a line: declarations, lines of a block, and comments between them. Empty lines between them
/// stay, as one.
struct Lines<'s> {
    source: &'s str,
    parts: Vec<Doc>,
    /// Where in the source the last of them ends.
    end: Option<usize>,
}

impl<'s> Lines<'s> {
    fn line(&mut self, start: usize) {
        if let Some(end) = self.end {
            self.parts.push(Doc::Hard);
            let between = self.source.get(end..start).unwrap_or("");
            if between.matches('\n').count() > 1 {
                self.parts.push(Doc::Hard);
            }
        }
    }

    fn remark(&mut self, remark: &Remark) {
        self.line(remark.start);
        self.parts.push(Doc::Own(remark.text.clone()));
        self.end = Some(remark.end);
    }

    fn item(&mut self, nodes: &mut [Node<'s>], layout: impl FnOnce(&[Node<'s>]) -> Doc) {
        let Some(first) = nodes.first_mut() else { return };
        let before = std::mem::take(&mut first.first().before);
        before.iter().for_each(|r| self.remark(r));
        self.line(nodes[0].start());
        let last = nodes.last_mut().expect("there is a first");
        let after = last.last().after.take();
        self.end = Some(after.as_ref().map_or(last.end(), |r| r.end));
        self.parts.push(layout(nodes));
        self.parts.extend(after.map(|r| Doc::Trailing(r.text)));
    }
}

/// A declaration, or a line of a block: `HEAD = EXPR @attrs`, `HEAD ~ EXPR`, or something else.
fn statement(source: &str, nodes: &[Node<'_>]) -> Doc {
    let sign = nodes.iter().position(|n| n.is(Token::Equals) || n.is(Token::Tilde));
    let keyword = nodes.first().is_some_and(|n| n.is(Token::Factor));
    let value = nodes.first().is_some_and(|n| n.token().is_none_or(|t| !t.starts_declaration()));
    let (head, sign, rest) = match sign {
        Some(i) => {
            let Node::Leaf(sign) = &nodes[i] else { unreachable!("only leaves have such tokens") };
            (concat(vec![seq(source, &nodes[..i]), text(" ")]), leaf(sign), &nodes[i + 1..])
        }
        None if keyword => (text(""), seq(source, &nodes[..1]), &nodes[1..]),
        None if value => return expr(source, nodes, false),
        None => return seq(source, nodes),
    };
    let main = rest.iter().position(|n| n.is(Token::At)).unwrap_or(rest.len());
    let (value, attrs) = rest.split_at(main);
    let tail = match attrs {
        [] => concat(vec![]),
        _ => group(indent(concat(vec![Doc::Line, seq(source, attrs)]))),
    };
    if hugs(value) {
        return concat(vec![head, sign, text(" "), expr(source, value, true), tail]);
    }
    group(concat(vec![head, sign, indent(concat(vec![Doc::Line, expr(source, value, false)])), tail]))
}

/// `{ … }`: one item per line, or all on one where they were written so.
fn block(source: &str, node: &Node<'_>) -> Doc {
    let Node::Bracket { open, inner, close, one_line } = node else { unreachable!("blocks are brackets") };
    let separators = [Token::Comma, Token::Semicolon, Token::Newline];
    let mut items: Vec<Vec<Node<'_>>> = vec![vec![]];
    // Comments above a separator go above what follows it.
    let mut waiting: Vec<Remark> = vec![];
    for node in inner {
        let item = items.last_mut().expect("starts with one");
        // In `a, b: real` and `a, b ~ …` the comma stands between names.
        let names = node.is(Token::Comma) && !item.iter().any(is_sign_of_item);
        if node.token().is_some_and(|t| separators.contains(&t)) && !names {
            // The separator goes, its comments stay.
            if let Node::Leaf(sign) = node {
                let mut after = sign.after.clone();
                if let (Some(last), true) = (item.last_mut(), sign.before.is_empty()) {
                    let last = &mut last.last().after;
                    if last.is_none() {
                        *last = after.take();
                    }
                }
                waiting.extend(sign.before.iter().cloned().chain(after));
            }
            items.push(vec![]);
        } else {
            item.push(node.clone());
            if item.len() == 1 && !waiting.is_empty() {
                item[0].first().before.splice(0..0, waiting.drain(..));
            }
        }
    }
    let mut close = close.clone();
    close.before.splice(0..0, waiting);
    items.retain(|i| !i.is_empty());
    let semicolons = inner.iter().any(|n| n.is(Token::Semicolon));
    let widths: Vec<Option<usize>> = items.iter().map(|i| field_width(source, i)).collect();
    // Where each ends, with the comment behind it.
    let end = |item: &mut Vec<Node<'_>>| {
        let last = item.last_mut().expect("items are not empty");
        last.last().after.as_ref().map_or(0, |r| r.end).max(last.end())
    };
    let ends: Vec<usize> = items.iter_mut().map(end).collect();
    let lone = |(i, item): (usize, &Vec<Node<'_>>)| {
        // Fields that an empty line or a comment line parts are not aligned with each other.
        let above = i.checked_sub(1).map(|p| ends[p]);
        let apart = above.is_some_and(|end| source[end..item[0].start()].matches('\n').count() > 1);
        apart.then_some(i)
    };
    let starts: Vec<usize> = items.iter().enumerate().filter_map(lone).collect();
    let column = |i: usize| {
        let from = starts.iter().rfind(|s| **s <= i).copied().unwrap_or(0);
        let to = starts.iter().find(|s| **s > i).copied().unwrap_or(items.len());
        widths[from..to].iter().flatten().max().copied().unwrap_or(0)
    };
    let columns: Vec<usize> = (0..items.len()).map(column).collect();

    if items.is_empty() && close.before.is_empty() {
        return concat(vec![leaf(open), leaf(&close)]);
    }
    let remarks = inner.iter().any(has_remark) || !close.before.is_empty() || open.after.is_some();
    if *one_line && !remarks {
        let mut parts = vec![];
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                parts.push(Doc::Flat(if semicolons { ";" } else { "," }));
            }
            parts.push(Doc::Line);
            parts.push(field(source, item, columns[i]));
        }
        return group(concat(vec![leaf(open), indent(concat(parts)), Doc::Line, leaf(&close)]));
    }
    let mut lines = Lines { source, parts: vec![Doc::Hard], end: None };
    for (i, mut item) in items.into_iter().enumerate() {
        lines.item(&mut item, |item| field(source, item, columns[i]));
    }
    for remark in &close.before {
        lines.remark(remark);
    }
    close.before.clear();
    concat(vec![leaf(open), indent(concat(lines.parts)), Doc::Hard, leaf(&close)])
}

/// `:`, `=` or `~`: what stands before it are names.
fn is_sign_of_item(node: &Node<'_>) -> bool {
    node.is(Token::Colon) || node.is(Token::Equals) || node.is(Token::Tilde)
}

fn has_remark(node: &Node<'_>) -> bool {
    let of_leaf = |l: &tree::Leaf<'_>| !l.before.is_empty() || l.after.is_some();
    match node {
        Node::Leaf(leaf) => of_leaf(leaf),
        Node::Bracket { open, inner, close, .. } => of_leaf(open) || of_leaf(close) || inner.iter().any(has_remark),
    }
}

/// How wide the names of a column are, if this line is that of a column.
fn field_width(source: &str, nodes: &[Node<'_>]) -> Option<usize> {
    let colon = colon(nodes)?;
    let names = &source[nodes[0].start()..nodes[colon - 1].end()];
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    Some(names.join(", ").chars().count())
}

/// Where the colon of `names: TYPE` stands.
fn colon(nodes: &[Node<'_>]) -> Option<usize> {
    let colon = nodes.iter().position(|n| n.is(Token::Colon))?;
    let names = nodes[..colon].iter().all(|n| matches!(n.token(), Some(Token::Name(_) | Token::Comma)));
    (colon > 0 && names && !nodes[..colon].iter().any(has_remark)).then_some(colon)
}

/// A line of a block; the types of columns stand below each other.
fn field(source: &str, nodes: &[Node<'_>], column: usize) -> Doc {
    match (colon(nodes), field_width(source, nodes)) {
        (Some(colon), Some(width)) if nodes.iter().all(|n| !n.is(Token::Equals) && !n.is(Token::Tilde)) => {
            let pad = " ".repeat(column.saturating_sub(width));
            let head = seq(source, &nodes[..=colon]);
            concat(vec![head, Doc::Broken(pad), text(" "), expr(source, &nodes[colon + 1..], true)])
        }
        _ => statement(source, nodes),
    }
}
