//! The tokens of a text as a tree of brackets, every comment beside the token that it belongs to.

use crate::diag::Diags;
use crate::source::FileId;
use crate::syntax::layout::layout;
use crate::syntax::token::Token;

/// A comment as it is printed, and where it stood.
#[derive(Clone, Debug)]
pub struct Remark {
    pub text: String,
    pub start: usize,
    pub end: usize,
}

/// A token with its comments.
#[derive(Clone, Debug)]
pub struct Leaf<'s> {
    pub token: Token<'s>,
    pub text: &'s str,
    pub start: usize,
    pub end: usize,
    /// Comments on lines of their own above it.
    pub before: Vec<Remark>,
    /// The comment after it on its line.
    pub after: Option<Remark>,
}

#[derive(Clone, Debug)]
pub enum Node<'s> {
    Leaf(Leaf<'s>),
    Bracket {
        open: Leaf<'s>,
        inner: Vec<Node<'s>>,
        close: Leaf<'s>,
        /// Whether both brackets stood on one line.
        one_line: bool,
    },
}

impl<'s> Node<'s> {
    pub fn first(&mut self) -> &mut Leaf<'s> {
        match self {
            Node::Leaf(leaf) => leaf,
            Node::Bracket { open, .. } => open,
        }
    }

    pub fn last(&mut self) -> &mut Leaf<'s> {
        match self {
            Node::Leaf(leaf) => leaf,
            Node::Bracket { close, .. } => close,
        }
    }

    pub fn start(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.start,
            Node::Bracket { open, .. } => open.start,
        }
    }

    pub fn end(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.end,
            Node::Bracket { close, .. } => close.end,
        }
    }

    /// The token of a leaf.
    pub fn token(&self) -> Option<Token<'s>> {
        match self {
            Node::Leaf(leaf) => Some(leaf.token),
            Node::Bracket { .. } => None,
        }
    }

    pub fn is(&self, token: Token<'_>) -> bool {
        self.token() == Some(token)
    }

    /// The token that it starts with.
    pub fn opening(&self) -> Token<'s> {
        match self {
            Node::Leaf(leaf) => leaf.token,
            Node::Bracket { open, .. } => open.token,
        }
    }
}

/// A file: its declarations, each with its tokens, and the comments below the last one.
pub struct Tree<'s> {
    pub decls: Vec<Vec<Node<'s>>>,
    pub rest: Vec<Remark>,
}

/// The tree of a text without errors of syntax.
pub fn tree(text: &str) -> Tree<'_> {
    let laid = layout(FileId(0), text, &mut Diags::default());
    let mut comments = laid.comments.iter().peekable();
    let mut leaves: Vec<Leaf<'_>> = vec![];
    let mut written = None;
    for (start, token, end) in laid.tokens {
        let mut leaf = Leaf { token, text: &text[start..end], start, end, before: vec![], after: None };
        if !matches!(token, Token::Newline | Token::End) {
            while let Some(c) = comments.next_if(|c| (c.span.start as usize) < start) {
                place(c, written.map(|i: usize| &mut leaves[i]), &mut leaf.before);
            }
            written = Some(leaves.len());
        }
        leaves.push(leaf);
    }
    let mut rest = vec![];
    for c in comments {
        place(c, written.map(|i| &mut leaves[i]), &mut rest);
    }
    let mut leaves = leaves.into_iter().peekable();
    let mut decls = vec![];
    while leaves.peek().is_some() {
        let decl = nodes(text, &mut leaves, Token::End);
        leaves.next_if(|l| l.token == Token::End);
        if !decl.is_empty() {
            decls.push(decl);
        }
    }
    Tree { decls, rest }
}

/// A comment goes after the token on its line, or above the one on the next.
fn place(c: &crate::syntax::ast::Comment, before: Option<&mut Leaf<'_>>, above: &mut Vec<Remark>) {
    let text = if c.text.is_empty() { "#".to_string() } else { format!("# {}", c.text) };
    let remark = Remark { text, start: c.span.start as usize, end: c.span.end as usize };
    match before {
        Some(leaf) if !c.own_line && above.is_empty() && leaf.after.is_none() => leaf.after = Some(remark),
        _ => above.push(remark),
    }
}

type Leaves<'s> = std::iter::Peekable<std::vec::IntoIter<Leaf<'s>>>;

/// Nodes up to a token, which stays.
fn nodes<'s>(text: &str, leaves: &mut Leaves<'s>, until: Token<'_>) -> Vec<Node<'s>> {
    let mut out = vec![];
    while let Some(open) = leaves.next_if(|l| l.token != until && !(l.token.is_closer() && until != Token::End)) {
        let Some(closer) = open.token.closer() else {
            out.push(Node::Leaf(open));
            continue;
        };
        let inner = nodes(text, leaves, closer);
        match leaves.next() {
            Some(close) => {
                let one_line = !text[open.start..close.end].contains('\n');
                out.push(Node::Bracket { open, inner, close, one_line });
            }
            // Brackets match in a text without errors.
            None => break,
        }
    }
    out
}
