//! What the compiler knows about one text, in the protocol's types.

use std::collections::HashMap;

use lsp_types::*;

use super::convert::Lines;
use crate::diag::{Code, Diagnostic as Finding, Severity};
use crate::editor::{self, Colour, CompletionKind as What, Document, Kind};
use crate::source::{FileId, Span};
use crate::syntax::format;

/// The kinds of coloured words, in the protocol's names.
pub const TOKEN_TYPES: [&str; 13] = [
    "keyword",
    "type",
    "namespace",
    "property",
    "variable",
    "macro",
    "class",
    "function",
    "parameter",
    "number",
    "string",
    "comment",
    "decorator",
];

pub struct Answers<'a> {
    uri: &'a Uri,
    document: &'a Document,
    encoding: &'a PositionEncodingKind,
    lines: Lines<'a>,
}

impl<'a> Answers<'a> {
    pub fn new(uri: &'a Uri, document: &'a Document, encoding: &'a PositionEncodingKind) -> Answers<'a> {
        Answers { uri, document, encoding, lines: Lines::new(document.text(), encoding) }
    }

    fn offset(&self, position: Position) -> usize {
        self.lines.offset(position)
    }

    /// A place in this text or in another file. None in what is no file: the library.
    fn location(&self, span: Span) -> Option<Location> {
        if span.file == self.document.file() {
            return Some(Location::new(self.uri.clone(), self.lines.range(span)));
        }
        let source = self.document.session.sources.get(span.file);
        if !self.document.checked.imports.contains(&span.file) {
            return None;
        }
        let path = std::path::Path::new(&source.name).canonicalize().ok()?;
        let uri = format!("file://{}", escaped(&path.to_string_lossy())).parse().ok()?;
        Some(Location::new(uri, Lines::new(&source.text, self.encoding).range(span)))
    }

    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let findings = self.document.session.diags.sorted();
        findings.into_iter().filter_map(|d| self.diagnostic(d)).collect()
    }

    /// What lies in another file is said by that file.
    fn diagnostic(&self, d: &Finding) -> Option<Diagnostic> {
        let file = d.span.map_or(self.document.file(), |s| s.file);
        let range = match d.span {
            Some(span) if file == self.document.file() => self.lines.range(span),
            Some(_) => return None,
            None => Range::default(),
        };
        let mut message = d.message.clone();
        for part in [&d.label].into_iter().chain(&d.notes).filter(|t| !t.is_empty()) {
            message += &format!("\n{part}");
        }
        if let Some(help) = &d.help {
            message += &format!("\nhelp: {help}");
        }
        let related = d.labels.iter().filter_map(|l| {
            Some(DiagnosticRelatedInformation { location: self.location(l.span)?, message: l.text.clone() })
        });
        let unused = [Code::UNUSED_COLUMN, Code::UNUSED_LET].contains(&d.code);
        Some(Diagnostic {
            range,
            severity: Some(match d.severity {
                Severity::Error => DiagnosticSeverity::ERROR,
                Severity::Warning => DiagnosticSeverity::WARNING,
            }),
            code: Some(NumberOrString::String(d.code.id.to_owned())),
            source: Some("vic".to_owned()),
            message,
            related_information: Some(related.collect()),
            tags: unused.then(|| vec![DiagnosticTag::UNNECESSARY]),
            ..Diagnostic::default()
        })
    }

    pub fn hover(&self, position: Position) -> Option<Hover> {
        let (span, value) = editor::hover(self.document, self.offset(position))?;
        let contents = HoverContents::Markup(MarkupContent { kind: MarkupKind::Markdown, value });
        Some(Hover { contents, range: Some(self.lines.range(span)) })
    }

    pub fn completion(&self, position: Position) -> Vec<CompletionItem> {
        let found = editor::complete(self.document, self.offset(position));
        let item = |(i, c): (usize, editor::Completion)| CompletionItem {
            kind: Some(match c.kind {
                What::Keyword => CompletionItemKind::KEYWORD,
                What::Type => CompletionItemKind::TYPE_PARAMETER,
                What::Plate => CompletionItemKind::MODULE,
                What::Data => CompletionItemKind::FIELD,
                What::Latent | What::Value => CompletionItemKind::VARIABLE,
                What::Distribution => CompletionItemKind::CLASS,
                What::Function => CompletionItemKind::FUNCTION,
                What::Argument => CompletionItemKind::PROPERTY,
                What::Column => CompletionItemKind::FIELD,
                What::Option => CompletionItemKind::ENUM_MEMBER,
            }),
            // In the order given: arguments first, then the names at hand, then the library.
            sort_text: Some(format!("{i:05}")),
            insert_text_format: Some(match c.insert.contains('$') {
                true => InsertTextFormat::SNIPPET,
                false => InsertTextFormat::PLAIN_TEXT,
            }),
            insert_text: Some(c.insert),
            detail: (!c.detail.is_empty()).then_some(c.detail),
            documentation: (!c.doc.is_empty())
                .then_some(Documentation::MarkupContent(MarkupContent { kind: MarkupKind::Markdown, value: c.doc })),
            label: c.label,
            ..CompletionItem::default()
        };
        found.into_iter().enumerate().map(item).collect()
    }

    pub fn signature(&self, position: Position) -> Option<SignatureHelp> {
        let found = editor::signature(self.document, self.offset(position))?;
        let form = |f: editor::Form| SignatureInformation {
            parameters: Some(
                f.arguments
                    .iter()
                    .map(|(_, written)| ParameterInformation {
                        label: ParameterLabel::Simple(written.clone()),
                        documentation: None,
                    })
                    .collect(),
            ),
            label: f.label,
            documentation: (!f.doc.is_empty()).then_some(Documentation::String(f.doc)),
            active_parameter: None,
        };
        Some(SignatureHelp {
            signatures: found.forms.into_iter().map(form).collect(),
            active_signature: Some(found.form as u32),
            active_parameter: Some(found.argument as u32),
        })
    }

    pub fn definition(&self, position: Position) -> Option<Location> {
        let (id, _) = self.document.names.at(self.document.file(), self.offset(position) as u32)?;
        self.location(self.document.names.def(id).span)
    }

    pub fn references(&self, position: Position, declaration: bool) -> Vec<Location> {
        let Some((id, _)) = self.document.names.at(self.document.file(), self.offset(position) as u32) else {
            return vec![];
        };
        let own = self.document.names.def(id).span;
        let spans = self.document.names.all_of(id).into_iter().filter(|s| declaration || *s != own);
        spans.filter_map(|s| self.location(s)).collect()
    }

    pub fn prepare_rename(&self, position: Position) -> Option<Range> {
        let (_, span) = self.document.names.at(self.document.file(), self.offset(position) as u32)?;
        Some(self.lines.range(span))
    }

    pub fn rename(&self, position: Position, name: &str) -> Result<Option<WorkspaceEdit>, String> {
        let Some(renaming) = editor::rename(self.document, self.offset(position), name) else { return Ok(None) };
        let edits = renaming?.into_iter().map(|(span, text)| TextEdit::new(self.lines.range(span), text)).collect();
        Ok(Some(self.changes(edits)))
    }

    fn changes(&self, edits: Vec<TextEdit>) -> WorkspaceEdit {
        // Two texts are never one address.
        #[allow(clippy::mutable_key_type)]
        let changes = HashMap::from([(self.uri.clone(), edits)]);
        WorkspaceEdit::new(changes)
    }

    pub fn symbols(&self) -> Vec<DocumentSymbol> {
        editor::outline(self.document).iter().map(|i| self.symbol(i)).collect()
    }

    #[allow(deprecated)] // The protocol's own leftover field has no other way to be left out.
    fn symbol(&self, item: &editor::Item) -> DocumentSymbol {
        DocumentSymbol {
            name: item.name.clone(),
            detail: Some(item.kind.word().to_owned()),
            kind: match item.kind {
                Kind::Table => SymbolKind::STRUCT,
                Kind::Column | Kind::DataValue | Kind::Head => SymbolKind::FIELD,
                Kind::Plate => SymbolKind::NAMESPACE,
                Kind::Const => SymbolKind::CONSTANT,
                Kind::Net | Kind::Function => SymbolKind::FUNCTION,
                Kind::Distribution => SymbolKind::CLASS,
                Kind::Latent | Kind::Param | Kind::Let | Kind::Report | Kind::Index | Kind::Local => {
                    SymbolKind::VARIABLE
                }
            },
            tags: None,
            deprecated: None,
            range: self.lines.range(item.whole),
            selection_range: self.lines.range(item.name_span),
            children: Some(item.inside.iter().map(|i| self.symbol(i)).collect()),
        }
    }

    pub fn formatting(&self) -> Vec<TextEdit> {
        let formatted = format(self.document.text());
        if formatted == self.document.text() { vec![] } else { vec![TextEdit::new(self.lines.all(), formatted)] }
    }

    pub fn semantic_tokens(&self) -> SemanticTokens {
        let mut last = Position::new(0, 0);
        let mut data = vec![];
        for (start, end, colour) in editor::highlight(self.document) {
            let Range { start, end } = self.lines.between(start, end);
            if start.line != end.line {
                continue;
            }
            let delta_line = start.line - last.line;
            data.push(SemanticToken {
                delta_line,
                delta_start: if delta_line == 0 { start.character - last.character } else { start.character },
                length: end.character - start.character,
                token_type: token_type(colour),
                token_modifiers_bitset: 0,
            });
            last = start;
        }
        SemanticTokens { result_id: None, data }
    }

    /// The edits that diagnostics suggest, and silence for warnings.
    pub fn actions(&self, range: Range) -> Vec<CodeActionOrCommand> {
        let (start, end) = (self.offset(range.start), self.offset(range.end));
        let touches = |s: Span| s.file == self.document.file() && s.start as usize <= end && start <= s.end as usize;
        let mut out = vec![];
        for d in self.document.session.diags.sorted() {
            let Some(span) = d.span.filter(|s| touches(*s) || d.edits.iter().any(|e| touches(e.span))) else {
                continue;
            };
            let Some(told) = self.diagnostic(d) else { continue };
            let here = |file: FileId| file == self.document.file();
            if !d.edits.is_empty() && d.edits.iter().all(|e| here(e.span.file)) {
                let edits = d.edits.iter().map(|e| TextEdit::new(self.lines.range(e.span), e.text.clone())).collect();
                out.push(self.action(titled(d), edits, &told, d.sure));
            }
            if d.severity == Severity::Warning
                && let Some(decl) = self
                    .document
                    .checked
                    .ast
                    .decls
                    .iter()
                    .find(|c| c.span.start <= span.start && span.end <= c.span.end)
            {
                let at = self.lines.position(decl.span.end as usize);
                let edit = TextEdit::new(Range::new(at, at), format!(" @allow({})", d.code.id));
                out.push(self.action(
                    format!("Silence {} here: @allow({})", d.code.id, d.code.id),
                    vec![edit],
                    &told,
                    false,
                ));
            }
        }
        out
    }

    fn action(&self, title: String, edits: Vec<TextEdit>, told: &Diagnostic, preferred: bool) -> CodeActionOrCommand {
        CodeActionOrCommand::CodeAction(CodeAction {
            title,
            kind: Some(CodeActionKind::QUICKFIX),
            diagnostics: Some(vec![told.clone()]),
            edit: Some(self.changes(edits)),
            is_preferred: Some(preferred),
            ..CodeAction::default()
        })
    }

    pub fn hints(&self, range: Range) -> Vec<InlayHint> {
        let (start, end) = (self.offset(range.start), self.offset(range.end));
        let shown = editor::hints(self.document).into_iter().filter(|h| start <= h.offset && h.offset <= end);
        shown
            .map(|h| InlayHint {
                position: self.lines.position(h.offset),
                label: InlayHintLabel::String(h.text),
                kind: Some(InlayHintKind::TYPE),
                text_edits: None,
                tooltip: Some(InlayHintTooltip::String("the plates of its cells".to_owned())),
                padding_left: None,
                padding_right: None,
                data: None,
            })
            .collect()
    }
}

/// What an edit does, in a line.
fn titled(d: &Finding) -> String {
    match d.edits.as_slice() {
        [one] if one.text.is_empty() => "Remove it".to_owned(),
        [one] if one.text.len() <= 60 && !one.text.contains('\n') => format!("Write `{}`", one.text.trim()),
        _ => d.help.clone().unwrap_or_else(|| "Mend it".to_owned()),
    }
}

fn token_type(colour: Colour) -> u32 {
    let name = match colour {
        Colour::Keyword => "keyword",
        Colour::Type => "type",
        Colour::Plate => "namespace",
        Colour::Data => "property",
        Colour::Latent => "variable",
        Colour::Value => "macro",
        Colour::Distribution => "class",
        Colour::Function => "function",
        Colour::Argument => "parameter",
        Colour::Number => "number",
        Colour::Text => "string",
        Colour::Comment => "comment",
        Colour::Attribute => "decorator",
    };
    TOKEN_TYPES.iter().position(|t| *t == name).expect("every colour has its name in the list") as u32
}

/// A path as part of an address.
fn escaped(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'~');
    path.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}
