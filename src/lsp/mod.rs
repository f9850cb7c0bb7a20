//! The language server: [`crate::editor`] and the checker behind the Language Server Protocol, over standard input and output.
//!
//! A text is checked again when the editor has nothing more to say: while keys arrive faster than checks end, those in between
//! are left out.

mod answers;
mod convert;

use std::collections::HashMap;

use lsp_server::{Connection, ErrorCode, Message, Notification, Request, Response};
use lsp_types::notification::{
    DidChangeTextDocument, DidCloseTextDocument, DidOpenTextDocument, Notification as _, PublishDiagnostics,
};
use lsp_types::request::{
    CodeActionRequest, Completion, DocumentSymbolRequest, Formatting, GotoDefinition, HoverRequest, InlayHintRequest,
    PrepareRenameRequest, References, Rename, Request as _, SemanticTokensFullRequest, SignatureHelpRequest,
};
use lsp_types::*;
use serde_json::{Value, json};

use crate::editor::Document;
use answers::Answers;
use convert::Lines;

/// Why a session ended other than by the editor's wish.
#[derive(Debug)]
pub struct Failure(pub String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(e: E) -> Failure {
        Failure(e.to_string())
    }
}

/// Serve one editor over standard input and output until it says goodbye.
pub fn serve_stdio() -> Result<(), Failure> {
    let (connection, threads) = Connection::stdio();
    serve(&connection)?;
    // The threads end when the connection does.
    drop(connection);
    Ok(threads.join()?)
}

/// Serve one editor.
pub fn serve(connection: &Connection) -> Result<(), Failure> {
    let greeting = connection.initialize_start();
    let (id, params) = greeting.map_err(|_| Failure("no `initialize` came in".to_owned()))?;
    let asked: InitializeParams = serde_json::from_value(params)?;
    let offered = asked.capabilities.general.and_then(|g| g.position_encodings).unwrap_or_default();
    let encoding = match offered.contains(&PositionEncodingKind::UTF8) {
        true => PositionEncodingKind::UTF8,
        false => PositionEncodingKind::UTF16,
    };
    let answer = json!({
        "capabilities": capabilities(&encoding),
        "serverInfo": { "name": "vic", "version": env!("CARGO_PKG_VERSION") },
    });
    connection.initialize_finish(id, answer)?;
    let mut server = Server { connection, encoding, open: HashMap::new() };
    server.run()
}

fn capabilities(encoding: &PositionEncodingKind) -> ServerCapabilities {
    let legend = SemanticTokensLegend {
        token_types: answers::TOKEN_TYPES.iter().map(|t| SemanticTokenType::new(t)).collect(),
        token_modifiers: vec![],
    };
    let words = |list: &[&str]| Some(list.iter().map(|s| (*s).to_owned()).collect::<Vec<String>>());
    ServerCapabilities {
        position_encoding: Some(encoding.clone()),
        text_document_sync: Some(TextDocumentSyncKind::INCREMENTAL.into()),
        hover_provider: Some(true.into()),
        completion_provider: Some(CompletionOptions {
            trigger_characters: words(&["~", ".", "[", "(", "@", ":"]),
            ..CompletionOptions::default()
        }),
        signature_help_provider: Some(SignatureHelpOptions {
            trigger_characters: words(&["(", ","]),
            ..SignatureHelpOptions::default()
        }),
        definition_provider: Some(OneOf::Left(true)),
        references_provider: Some(OneOf::Left(true)),
        rename_provider: Some(OneOf::Right(RenameOptions {
            prepare_provider: Some(true),
            work_done_progress_options: WorkDoneProgressOptions::default(),
        })),
        document_symbol_provider: Some(OneOf::Left(true)),
        document_formatting_provider: Some(OneOf::Left(true)),
        code_action_provider: Some(CodeActionProviderCapability::Simple(true)),
        inlay_hint_provider: Some(OneOf::Left(true)),
        semantic_tokens_provider: Some(
            SemanticTokensOptions {
                legend,
                full: Some(SemanticTokensFullOptions::Bool(true)),
                ..SemanticTokensOptions::default()
            }
            .into(),
        ),
        ..ServerCapabilities::default()
    }
}

struct Server<'c> {
    connection: &'c Connection,
    encoding: PositionEncodingKind,
    open: HashMap<Uri, Open>,
}

/// A text as the editor has it.
struct Open {
    text: String,
    version: i32,
    /// `None` since the text changed.
    document: Option<Document>,
}

impl Server<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            let message = match self.connection.receiver.try_recv() {
                Ok(message) => message,
                Err(_) => {
                    // Nothing waits: time to look at what changed.
                    self.publish()?;
                    let Ok(message) = self.connection.receiver.recv() else { return Ok(()) };
                    message
                }
            };
            match message {
                Message::Request(request) => {
                    if self.connection.handle_shutdown(&request)? {
                        return Ok(());
                    }
                    let response = self.answer(request);
                    self.connection.sender.send(Message::Response(response))?;
                }
                Message::Notification(notification) => self.note(notification)?,
                Message::Response(_) => {}
            }
        }
    }

    fn note(&mut self, notification: Notification) -> Result<(), Failure> {
        match notification.method.as_str() {
            DidOpenTextDocument::METHOD => {
                let Ok(DidOpenTextDocumentParams { text_document: t }) = serde_json::from_value(notification.params)
                else {
                    return Ok(());
                };
                self.open.insert(t.uri, Open { text: t.text, version: t.version, document: None });
            }
            DidChangeTextDocument::METHOD => {
                let Ok(change) = serde_json::from_value::<DidChangeTextDocumentParams>(notification.params) else {
                    return Ok(());
                };
                let encoding = self.encoding.clone();
                let Some(open) = self.open.get_mut(&change.text_document.uri) else { return Ok(()) };
                open.version = change.text_document.version;
                open.document = None;
                for part in change.content_changes {
                    match part.range {
                        None => open.text = part.text,
                        Some(range) => {
                            let lines = Lines::new(&open.text, &encoding);
                            let (start, end) = (lines.offset(range.start), lines.offset(range.end));
                            open.text.replace_range(start..end.max(start), &part.text);
                        }
                    }
                }
            }
            DidCloseTextDocument::METHOD => {
                let Ok(closed) = serde_json::from_value::<DidCloseTextDocumentParams>(notification.params) else {
                    return Ok(());
                };
                let uri = closed.text_document.uri;
                self.open.remove(&uri);
                self.send(PublishDiagnosticsParams { uri, diagnostics: vec![], version: None })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Check what changed, and tell the editor what is wrong with it.
    fn publish(&mut self) -> Result<(), Failure> {
        let stale: Vec<Uri> = self.open.iter().filter(|(_, o)| o.document.is_none()).map(|(u, _)| u.clone()).collect();
        for uri in stale {
            let encoding = self.encoding.clone();
            let Some((answers, version)) = self.answers(&uri, &encoding) else { continue };
            let diagnostics = answers.diagnostics();
            self.send(PublishDiagnosticsParams { uri, diagnostics, version: Some(version) })?;
        }
        Ok(())
    }

    fn send(&self, params: PublishDiagnosticsParams) -> Result<(), Failure> {
        let message = Notification::new(PublishDiagnostics::METHOD.to_owned(), params);
        Ok(self.connection.sender.send(Message::Notification(message))?)
    }

    /// What can be asked about an open text; it is checked first if it changed.
    fn answers<'a>(&'a mut self, uri: &'a Uri, encoding: &'a PositionEncodingKind) -> Option<(Answers<'a>, i32)> {
        let open = self.open.get_mut(uri)?;
        let Open { text, version, document } = open;
        let document = document.get_or_insert_with(|| Document::new(&path_of(uri), text));
        Some((Answers::new(uri, document, encoding), *version))
    }

    fn answer(&mut self, request: Request) -> Response {
        let Request { id, method, params } = request;
        let encoding = self.encoding.clone();
        let uri = uri_of(&params);
        let Some(uri) = uri else {
            return Response::new_err(id, ErrorCode::MethodNotFound as i32, format!("vic does not answer `{method}`"));
        };
        let Some((answers, _)) = self.answers(&uri, &encoding) else {
            return Response::new_ok(id, Value::Null);
        };
        match reply(&answers, &method, params) {
            Some(Ok(value)) => Response::new_ok(id, value),
            Some(Err(why)) => Response::new_err(id, ErrorCode::RequestFailed as i32, why),
            None => Response::new_err(id, ErrorCode::MethodNotFound as i32, format!("vic does not answer `{method}`")),
        }
    }
}

/// The answer to a request about a text. `None`: there is none of that name.
fn reply(answers: &Answers, method: &str, params: Value) -> Option<Result<Value, String>> {
    fn read<T: serde::de::DeserializeOwned>(params: Value) -> Result<T, String> {
        serde_json::from_value(params).map_err(|e| e.to_string())
    }
    fn write<T: serde::Serialize>(value: T) -> Result<Value, String> {
        serde_json::to_value(value).map_err(|e| e.to_string())
    }
    Some(match method {
        HoverRequest::METHOD => {
            read::<HoverParams>(params).and_then(|p| write(answers.hover(p.text_document_position_params.position)))
        }
        Completion::METHOD => {
            read::<CompletionParams>(params).and_then(|p| write(answers.completion(p.text_document_position.position)))
        }
        SignatureHelpRequest::METHOD => read::<SignatureHelpParams>(params)
            .and_then(|p| write(answers.signature(p.text_document_position_params.position))),
        GotoDefinition::METHOD => read::<GotoDefinitionParams>(params)
            .and_then(|p| write(answers.definition(p.text_document_position_params.position))),
        References::METHOD => read::<ReferenceParams>(params)
            .and_then(|p| write(answers.references(p.text_document_position.position, p.context.include_declaration))),
        PrepareRenameRequest::METHOD => {
            read::<TextDocumentPositionParams>(params).and_then(|p| write(answers.prepare_rename(p.position)))
        }
        Rename::METHOD => read::<RenameParams>(params)
            .and_then(|p| answers.rename(p.text_document_position.position, &p.new_name))
            .and_then(write),
        DocumentSymbolRequest::METHOD => write(answers.symbols()),
        Formatting::METHOD => write(answers.formatting()),
        SemanticTokensFullRequest::METHOD => write(answers.semantic_tokens()),
        CodeActionRequest::METHOD => read::<CodeActionParams>(params).and_then(|p| write(answers.actions(p.range))),
        InlayHintRequest::METHOD => read::<InlayHintParams>(params).and_then(|p| write(answers.hints(p.range))),
        _ => return None,
    })
}

fn uri_of(params: &Value) -> Option<Uri> {
    params.get("textDocument")?.get("uri")?.as_str()?.parse().ok()
}

/// The file's path; what is no file keeps its address as its name.
fn path_of(uri: &Uri) -> String {
    let text = uri.as_str();
    let Some(path) = text.strip_prefix("file://") else { return text.to_owned() };
    let bytes = path.as_bytes();
    let (mut out, mut i) = (vec![], 0);
    while i < bytes.len() {
        let code = path.get(i + 1..i + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[i], code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
