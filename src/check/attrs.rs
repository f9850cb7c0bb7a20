//! Attributes of declarations: `@centered`, `@noncentered`, `@allow(CODE)`.

use super::*;
use crate::diag::Code;
use crate::syntax::ast::ExprKind as A;

impl<'a> Checker<'a, '_> {
    pub(super) fn attrs(&mut self, decl: &'a ast::Decl) {
        let known: Vec<&str> = words::names(words::ATTRIBUTES).collect();
        for (i, a) in decl.attrs.iter().enumerate() {
            let name = a.name.name.as_str();
            if !known.contains(&name) {
                let d = Code::UNKNOWN_ATTRIBUTE
                    .at(a.span, format!("there is no attribute called `@{name}`"))
                    .here("not an attribute");
                self.diags.push(match crate::diag::nearest(name, known.iter().copied()) {
                    Some(n) => d.help(format!("did you mean `@{n}`?")).edit(a.name.span, n),
                    None if self.names.get(name).is_some_and(|e| e.var.is_some()) => d.help(format!(
                        "a product of matrices is a sum over the plate that they share: `sum(x * {name} over k)`"
                    )),
                    None => d.help("the attributes are `@centered`, `@noncentered` and `@allow(CODE)`"),
                });
                continue;
            }
            if name == "allow" {
                self.allowed_codes(a);
                continue;
            }
            if !matches!(decl.kind, DeclKind::Latent { .. }) {
                self.diags.push(
                    Code::UNKNOWN_ATTRIBUTE
                        .at(a.span, format!("`@{name}` says how a latent is drawn, and belongs to a `latent`"))
                        .here("not here")
                        .help("remove it here"),
                );
            }
            let other = decl.attrs[..i].iter().find(|o| o.name.name != "allow" && o.name.name != name);
            if let Some(old) = other.filter(|o| known.contains(&o.name.name.as_str())) {
                self.diags.push(
                    Code::UNKNOWN_ATTRIBUTE
                        .at(a.span, format!("`@{name}` contradicts `@{}`", old.name.name))
                        .here("this one or the other")
                        .label(old.span, "the other one")
                        .help("remove one of them"),
                );
            }
        }
    }

    /// `@allow(V1002)` names warnings.
    pub(super) fn allowed_codes(&mut self, a: &'a ast::Attr) {
        for arg in &a.args {
            let A::Name(code) = &arg.value.kind else {
                self.diags.push(
                    Code::UNKNOWN_ATTRIBUTE
                        .at(arg.value.span, "`@allow` takes the code of a warning")
                        .here("not a code")
                        .help("write, for instance, `@allow(V1002)`"),
                );
                continue;
            };
            let d = match crate::diag::ALL.iter().find(|c| c.id == code) {
                Some(c) if c.warning => continue,
                Some(c) => Code::UNKNOWN_ATTRIBUTE
                    .at(arg.value.span, format!("`{code}` is an error, and errors cannot be allowed"))
                    .here(c.title),
                None => Code::UNKNOWN_ATTRIBUTE
                    .at(arg.value.span, format!("there is no warning with the code `{code}`"))
                    .here("not a code"),
            };
            let ids: Vec<&str> = crate::diag::ALL.iter().filter(|c| c.warning).map(|c| c.id).collect();
            self.diags.push(d.help(format!("the warnings are {}", ids.join(", "))));
        }
        if a.args.is_empty() {
            self.diags.push(
                Code::UNKNOWN_ATTRIBUTE
                    .at(a.span, "`@allow` takes the code of a warning")
                    .here("which warning?")
                    .help("write, for instance, `@allow(V1002)`"),
            );
        }
    }
}
