//! The call that a place lies in, and the forms that the called function or distribution has.

use super::Document;
use crate::library::entries;
use crate::syntax::ast::{DeclKind, Param};
use crate::syntax::token::Token;

/// One way of calling: `Normal(mu: real, sigma: real > 0)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    pub label: String,
    /// The arguments with their types, as written.
    pub arguments: Vec<(String, String)>,
    pub doc: String,
}

/// The forms of the innermost call around a place, and the argument that the place is in.
#[derive(Debug, PartialEq)]
pub struct Signature {
    pub name: String,
    pub forms: Vec<Form>,
    /// The form that the names written so far fit, and the position of the argument.
    pub form: usize,
    pub argument: usize,
}

pub fn signature(document: &Document, offset: usize) -> Option<Signature> {
    let call = call_at(document, offset)?;
    let forms = forms(document, &call.name);
    if forms.is_empty() {
        return None;
    }
    let fits = |f: &Form| call.named.iter().all(|n| f.arguments.iter().any(|a| a.0 == *n));
    let form = forms.iter().position(|f| fits(f) && call.position < f.arguments.len().max(1)).unwrap_or(0);
    let named = call.current.and_then(|n| forms[form].arguments.iter().position(|a| a.0 == n));
    Some(Signature { name: call.name, form, argument: named.unwrap_or(call.position), forms })
}

/// What stands in a call before a place.
pub(super) struct Call {
    pub name: String,
    /// Commas before the place.
    pub position: usize,
    /// Names of the arguments before it.
    pub named: Vec<String>,
    /// The name of the argument that the place is in, if it has one.
    pub current: Option<String>,
}

pub(super) fn call_at(document: &Document, offset: usize) -> Option<Call> {
    let tokens = document.tokens();
    let before: Vec<_> = tokens.iter().take_while(|t| t.2 <= offset).collect();
    let mut depth = 0usize;
    let mut open = None;
    for (i, (_, token, _)) in before.iter().enumerate().rev() {
        match token {
            Token::RParen | Token::RBracket | Token::RBrace => depth += 1,
            Token::LParen if depth == 0 => {
                open = Some(i);
                break;
            }
            Token::LBracket if depth == 0 => {}
            Token::LBrace if depth == 0 => return None,
            Token::LParen | Token::LBracket | Token::LBrace => depth -= 1,
            _ => {}
        }
    }
    let open = open?;
    let Token::Name(name) = before.get(open.checked_sub(1)?)?.1 else { return None };
    let mut call = Call { name: name.to_owned(), position: 0, named: vec![], current: None };
    let mut depth = 0usize;
    let inside = &before[open + 1..];
    for (i, (_, token, _)) in inside.iter().enumerate() {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => {
                call.position += 1;
                call.current = None;
            }
            Token::Colon if depth == 0 => {
                if let Some((_, Token::Name(n), _)) = i.checked_sub(1).and_then(|i| inside.get(i)) {
                    call.named.push((*n).to_owned());
                    call.current = Some((*n).to_owned());
                }
            }
            _ => {}
        }
    }
    Some(call)
}

/// The forms of a function or distribution: the model's own, else the library's.
pub(super) fn forms(document: &Document, name: &str) -> Vec<Form> {
    let slice = |p: &Param| {
        let whole = p.name.span.to(p.ty.span);
        (p.name.name.clone(), document.session.sources.slice(whole).to_owned())
    };
    let own = document.checked.whole.decls.iter().filter_map(|d| match &d.kind {
        DeclKind::Fn { name: n, params, .. }
        | DeclKind::Dist { name: n, params, .. }
        | DeclKind::Net { name: n, params, .. }
            if n.name == name =>
        {
            let arguments: Vec<_> = params.iter().map(slice).collect();
            let label = label(name, &arguments);
            Some(Form { label, arguments, doc: d.doc.clone().unwrap_or_default() })
        }
        _ => None,
    });
    let own: Vec<Form> = own.collect();
    if !own.is_empty() {
        return own;
    }
    let library = entries().iter().filter(|e| e.name == name);
    library
        .map(|e| Form { label: label(name, &e.arguments), arguments: e.arguments.clone(), doc: e.doc.clone() })
        .collect()
}

fn label(name: &str, arguments: &[(String, String)]) -> String {
    let arguments: Vec<&str> = arguments.iter().map(|a| a.1.as_str()).collect();
    format!("{name}({})", arguments.join(", "))
}
