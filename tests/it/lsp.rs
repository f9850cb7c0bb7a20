//! An editor's session with `vic lsp`, over standard input and output.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// The editor's side of the conversation.
struct Editor {
    server: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    last: i64,
    /// What came in while an answer was waited for.
    told: Vec<Value>,
}

const URI: &str = "file:///nowhere/model.vi";

impl Editor {
    fn start(encodings: &[&str]) -> Editor {
        let mut server = Command::new(env!("CARGO_BIN_EXE_vic"))
            .args(["lsp", "--stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (to, from) = (server.stdin.take().expect("piped"), server.stdout.take().expect("piped"));
        let mut editor = Editor { server, to, from: BufReader::new(from), last: 0, told: vec![] };
        let general = json!({ "general": { "positionEncodings": encodings } });
        let answer = editor.ask("initialize", json!({ "capabilities": general }));
        assert_eq!(answer["serverInfo"]["name"], "vic");
        editor.tell("initialized", json!({}));
        editor
    }

    fn send(&mut self, message: Value) {
        let text = message.to_string();
        write!(self.to, "Content-Length: {}\r\n\r\n{text}", text.len()).expect("the server listens");
        self.to.flush().expect("the server listens");
    }

    fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.from.read_line(&mut line).expect("the server speaks");
            match line.trim().split_once(": ") {
                Some(("Content-Length", n)) => length = n.parse().expect("a number"),
                Some(_) => {}
                None => break,
            }
        }
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes).expect("as much as was said");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// The whole answer, with `result` or `error`.
    fn respond(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        self.send(json!({ "jsonrpc": "2.0", "id": self.last, "method": method, "params": params }));
        loop {
            let message = self.receive();
            if message["id"] == self.last {
                return message;
            }
            self.told.push(message);
        }
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let answer = self.respond(method, params);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn at(&mut self, method: &str, line: u32, character: u32) -> Value {
        let position = json!({ "line": line, "character": character });
        self.ask(method, json!({ "textDocument": { "uri": URI }, "position": position }))
    }

    fn open(&mut self, text: &str) {
        let item = json!({ "uri": URI, "languageId": "vi", "version": 1, "text": text });
        self.tell("textDocument/didOpen", json!({ "textDocument": item }));
    }

    /// Replace part of a line.
    fn edit(&mut self, version: i32, line: u32, from: u32, to: u32, text: &str) {
        let range = json!({ "start": { "line": line, "character": from }, "end": { "line": line, "character": to } });
        let change = json!({ "range": range, "text": text });
        let document = json!({ "uri": URI, "version": version });
        self.tell("textDocument/didChange", json!({ "textDocument": document, "contentChanges": [change] }));
    }

    /// The diagnostics of a version of the text.
    fn diagnostics(&mut self, version: i32) -> Vec<Value> {
        loop {
            let waiting = (!self.told.is_empty()).then(|| self.told.remove(0));
            let message = waiting.unwrap_or_else(|| self.receive());
            if message["method"] == "textDocument/publishDiagnostics" && message["params"]["version"] == version {
                return message["params"]["diagnostics"].as_array().expect("a list").clone();
            }
        }
    }

    fn end(mut self) {
        self.ask("shutdown", Value::Null);
        self.tell("exit", Value::Null);
        assert!(self.server.wait().expect("it ends").success());
    }
}

const MODEL: &str = "\
# Schools.
data schools { y: real, sigma: real > 0, kind: category }
latent mu ~ Normal(0, 5)
# Spread between schools.
latent tau ~ HalfNormal(5)
latent theta[schools] ~ Normal(mu, tau)
let shifted = theta + 1
observe y ~ Normal(shifted, sigma)
";

fn labels(items: &Value) -> Vec<&str> {
    items.as_array().expect("a list").iter().filter_map(|i| i["label"].as_str()).collect()
}

#[test]
fn a_session() {
    let mut editor = Editor::start(&["utf-16"]);
    editor.open(MODEL);
    let found = editor.diagnostics(1);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0]["code"], &found[0]["severity"]), (&json!("V1002"), &json!(2)), "`kind` is not used");

    // Hover: a value with its plates, a distribution with its density, a word of the language.
    let text = |v: &Value| v["contents"]["value"].as_str().unwrap_or("").to_owned();
    let hover = text(&editor.at("textDocument/hover", 5, 8));
    assert!(hover.contains("latent theta[schools]: real"), "{hover}");
    let hover = text(&editor.at("textDocument/hover", 4, 8));
    assert!(hover.contains("latent tau: real >= 0") && hover.contains("Spread between schools."), "{hover}");
    let hover = text(&editor.at("textDocument/hover", 2, 14));
    assert!(hover.contains("Normal(mu: real, sigma: real > 0) on real") && hover.contains("logpdf(x)"), "{hover}");
    let hover = text(&editor.at("textDocument/hover", 2, 2));
    assert!(hover.contains("an unknown with its prior"), "{hover}");
    assert!(editor.at("textDocument/hover", 0, 3).is_null(), "a comment");

    // From a use to its declaration, and back to all uses.
    let place = editor.at("textDocument/definition", 5, 36);
    assert_eq!((&place["range"]["start"], &place["uri"]), (&json!({ "line": 4, "character": 7 }), &json!(URI)));
    let params = json!({ "textDocument": { "uri": URI }, "position": { "line": 4, "character": 8 },
                         "context": { "includeDeclaration": true } });
    assert_eq!(editor.ask("textDocument/references", params).as_array().map(Vec::len), Some(2));

    // Rename, with the file's own name kept for a column.
    let rename = |line: u32, character: u32, name: &str| json!({ "textDocument": { "uri": URI }, "position": { "line": line, "character": character }, "newName": name });
    let edits = editor.ask("textDocument/rename", rename(4, 8, "spread"))["changes"][URI].clone();
    assert_eq!(edits.as_array().map(Vec::len), Some(2), "{edits}");
    let edits = editor.ask("textDocument/rename", rename(1, 15, "effect"))["changes"][URI].clone();
    assert!(edits.to_string().contains(" from \\\"y\\\""), "{edits}");
    let refused = editor.respond("textDocument/rename", rename(4, 8, "mu"));
    assert!(refused["error"]["message"].as_str().unwrap_or("").contains("a latent called `mu`"), "{refused}");

    // Outline, colours, hints, layout.
    let outline = editor.ask("textDocument/documentSymbol", json!({ "textDocument": { "uri": URI } }));
    let names: Vec<&str> = outline.as_array().expect("a list").iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(names, ["schools", "mu", "tau", "theta", "shifted"]);
    assert_eq!(outline[0]["children"].as_array().map(Vec::len), Some(3));
    let colours = editor.ask("textDocument/semanticTokens/full", json!({ "textDocument": { "uri": URI } }));
    assert_eq!(colours["data"].as_array().map(|d| d.len() % 5), Some(0));
    assert_eq!(colours["data"][3], 11, "the first word is a comment");
    let whole = json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 8, "character": 0 } });
    let hints = editor.ask("textDocument/inlayHint", json!({ "textDocument": { "uri": URI }, "range": whole }));
    assert_eq!(labels(&hints), ["[schools]", "[schools]"], "after `shifted` and after the observed `y`");
    let layout = json!({ "textDocument": { "uri": URI }, "options": { "tabSize": 2, "insertSpaces": true } });
    assert_eq!(editor.ask("textDocument/formatting", layout), json!([]), "laid out already");
    editor.end();
}

#[test]
fn mistakes_while_typing() {
    let mut editor = Editor::start(&["utf-8", "utf-16"]);
    editor.open(MODEL);
    editor.diagnostics(1);
    // A distribution is being typed: first what it could be, then a misspelling with its mending.
    editor.edit(2, 2, 12, 24, "Nor");
    let offered = editor.at("textDocument/completion", 2, 15);
    assert!(labels(&offered).contains(&"Normal") && labels(&offered).contains(&"HalfNormal"), "{offered}");
    editor.edit(3, 2, 12, 15, "Norml(0, 5)");
    let found = editor.diagnostics(3);
    let wrong: Vec<&Value> = found.iter().filter(|d| d["severity"] == 1).collect();
    assert_eq!(wrong.len(), 1, "one mistake, one error: {found:?}");
    assert_eq!(wrong[0]["range"]["start"], json!({ "line": 2, "character": 12 }));
    let range = json!({ "start": { "line": 2, "character": 13 }, "end": { "line": 2, "character": 13 } });
    let context = json!({ "diagnostics": [] });
    let params = json!({ "textDocument": { "uri": URI }, "range": range, "context": context });
    let actions = editor.ask("textDocument/codeAction", params);
    assert_eq!(actions[0]["title"], "Write `Normal`", "{actions}");
    let edit = &actions[0]["edit"]["changes"][URI][0];
    assert_eq!((&edit["newText"], &edit["range"]["end"]), (&json!("Normal"), &json!({ "line": 2, "character": 17 })));
    editor.edit(4, 2, 12, 17, "Normal");
    assert!(editor.diagnostics(4).iter().all(|d| d["severity"] != 1), "mended");

    // Within the call: its arguments by name, and its signature.
    editor.edit(5, 2, 12, 24, "Normal(0, ");
    let offered = editor.at("textDocument/completion", 2, 22);
    assert!(labels(&offered).starts_with(&["mu:", "sigma:"]), "{offered}");
    let signature = editor.at("textDocument/signatureHelp", 2, 22);
    assert_eq!((&signature["activeParameter"], &signature["activeSignature"]), (&json!(1), &json!(0)), "{signature}");
    assert_eq!(signature["signatures"][0]["parameters"][1]["label"], "sigma: real > 0");
    editor.edit(6, 2, 12, 22, "Normal(0, 5)");

    // Other places: an index, the columns of a table, a type, a declaration, an attribute.
    editor.edit(7, 6, 14, 23, "theta[");
    assert!(labels(&editor.at("textDocument/completion", 6, 20)).contains(&"schools"));
    editor.edit(8, 6, 14, 20, "schools.");
    assert_eq!(labels(&editor.at("textDocument/completion", 6, 22)), ["y", "sigma", "kind"]);
    editor.edit(9, 6, 0, 22, "la");
    assert!(labels(&editor.at("textDocument/completion", 6, 2)).contains(&"latent"));
    editor.edit(10, 6, 0, 2, "latent x: ");
    assert!(labels(&editor.at("textDocument/completion", 6, 10)).contains(&"real"));
    editor.edit(11, 6, 0, 10, "latent x ~ Normal(0, 1) @");
    assert!(labels(&editor.at("textDocument/completion", 6, 25)).contains(&"noncentered"));

    // A foreign sign is mended surely.
    editor.edit(12, 6, 0, 25, "let x = 2 ** 3");
    let params = json!({ "textDocument": { "uri": URI }, "context": { "diagnostics": [] },
        "range": { "start": { "line": 6, "character": 10 }, "end": { "line": 6, "character": 12 } } });
    let actions = editor.ask("textDocument/codeAction", params);
    assert_eq!((&actions[0]["title"], &actions[0]["isPreferred"]), (&json!("Write `^`"), &json!(true)), "{actions}");

    // What is unknown or closed is no reason to end.
    let refused = editor.respond("textDocument/somethingNew", json!({ "textDocument": { "uri": URI } }));
    assert_eq!(refused["error"]["code"], -32601);
    editor.tell("textDocument/didClose", json!({ "textDocument": { "uri": URI } }));
    assert!(editor.at("textDocument/hover", 2, 2).is_null());
    editor.end();
}
