//! The front door: what parses parses to the right tree, and nothing at all makes the parser panic.

use proptest::prelude::*;
use std::path::{Path, PathBuf};
use vic::diag::{Diags, RenderStyle, render};
use vic::source::{FileId, Sources, Span};
use vic::syntax::ast::*;
use vic::syntax::{parse, print};

/// Every `.vi` file of the library, the examples and `tests/models`, in order.
pub fn models() -> Vec<(PathBuf, String)> {
    fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("the directory is part of the repository") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|e| e == "vi") {
                files.push(path);
            }
        }
    }
    let mut files = vec![];
    for dir in ["stdlib", "tests/models", "examples"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
        if dir.exists() {
            collect(&dir, &mut files);
        }
    }
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).expect("UTF-8"))).collect()
}

/// Parse, and check what holds for every text: spans lie inside it, and whatever failed was reported.
pub fn parsed(text: &str) -> (Ast, Diags) {
    let mut diags = Diags::default();
    let ast = parse(FileId(0), text, &mut diags);
    let debug = format!("{ast:?} {diags:?}");
    for place in debug.split("Span { file: FileId(0), start: ").skip(1) {
        let (start, rest) = place.split_once(", end: ").expect("as derived");
        let end = rest.split(' ').next().expect("as derived");
        let (start, end): (usize, usize) = (start.parse().expect("a number"), end.parse().expect("a number"));
        assert!(start <= end && text.is_char_boundary(start) && text.is_char_boundary(end), "{start}..{end}\n{text}");
    }
    let failed = !ast.broken.is_empty() || ast.decls.iter().any(|d| d.kind == DeclKind::Error);
    assert!(!failed || diags.has_errors(), "something failed and nothing was said:\n{text}");
    (ast, diags)
}

/// The tree without its places.
pub fn tree(ast: &Ast) -> String {
    let mut out = String::new();
    let debug = format!("{:?}", ast.decls);
    let mut parts = debug.split("Span { file: FileId(0), start: ");
    out.push_str(parts.next().unwrap_or(""));
    for part in parts {
        out.push_str(part.split_once(" }").expect("as derived").1);
    }
    out
}

fn clean(text: &str) -> Ast {
    let (ast, diags) = parsed(text);
    let mut sources = Sources::default();
    sources.add("test.vi", text);
    let style = RenderStyle { width: 100, color: false, unicode: true };
    let said: Vec<String> = diags.list.iter().map(|d| render(d, &sources, style)).collect();
    assert!(said.is_empty(), "{}\nin\n{text}", said.join("\n"));
    ast
}

#[test]
fn every_model_parses_and_prints_to_the_same_tree() {
    let models = models();
    assert!(models.len() >= 44, "only {} models found", models.len());
    for (path, text) in models {
        let ast = clean(&text);
        assert!(!ast.decls.is_empty() && ast.broken.is_empty(), "{}", path.display());
        let printed = print(&ast);
        let again = clean(&printed);
        assert_eq!(tree(&ast), tree(&again), "{}\n{printed}", path.display());
        assert_eq!(printed, print(&again), "printing is idempotent");
    }
}

#[test]
fn every_prefix_of_every_model_parses_without_panic() {
    for (_, text) in models() {
        for end in (0..text.len()).filter(|e| text.is_char_boundary(*e)) {
            // Looking at every span takes far longer than parsing.
            if end % 20 == 0 {
                parsed(&text[..end]);
            } else {
                parse(FileId(0), &text[..end], &mut Diags::default());
            }
        }
    }
}

/// An expression as nested prefix forms, to show how it was grouped.
fn grouped(text: &str) -> String {
    fn show(e: &Expr) -> String {
        match &e.kind {
            ExprKind::Number { text, .. } => text.clone(),
            ExprKind::Name(name) => name.clone(),
            ExprKind::Unary { op, operand } => format!("({op:?} {})", show(operand)),
            ExprKind::Binary { op, left, right } => format!("({} {} {})", op.symbol(), show(left), show(right)),
            ExprKind::If { condition, then, otherwise } => {
                format!("(if {} {} {})", show(condition), show(then), show(otherwise))
            }
            ExprKind::Pipe { left, right } => format!("(|> {} {})", show(left), show(right)),
            other => format!("{other:?}"),
        }
    }
    match &clean(&format!("let x = {text}")).decls[0].kind {
        DeclKind::Let { value, .. } => show(value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn operators_group_as_rule_18_says() {
    assert_eq!(grouped("-x^2"), "(Neg (^ x 2))");
    assert_eq!(grouped("2^-x^y"), "(^ 2 (Neg (^ x y)))");
    assert_eq!(grouped("a^b^c"), "(^ a (^ b c))");
    assert_eq!(grouped("a - b - c * d / e"), "(- (- a b) (/ (* c d) e))");
    assert_eq!(grouped("not a == b and c or d"), "(or (and (Not (== a b)) c) d)");
    assert_eq!(grouped("a <-b"), "(< a (Neg b))");
    assert_eq!(grouped("if a then b else if c then d else e + 1"), "(if a b (if c d (+ e 1)))");
    assert_eq!(grouped("a |> b |> c"), "(|> (|> a b) c)");
}

#[test]
fn newlines_follow_rule_28() {
    let count = |text: &str| clean(text).decls.len();
    assert_eq!(count("let a = 1 +\n  2\nlet b = a\n  + 3\n\n\nlet c = f(1,\n  2\n)\n"), 3);
    assert_eq!(count("latent\n  mu\n  ~\n  Normal(0, 1)\n  @centered\n"), 1);
    assert_eq!(count("let s = if first(t)\n  then 1\n  else 2 # why\n  # more\nobserve y\n  over p ~ D(s)"), 2);
    assert_eq!(count("data t\n{\n  a: real,\n  b, c: int\n\n  d: key }\ndata e {}\nguide {}\n"), 3);
    assert_eq!(count("\r\nlet a = 1\r\nlet b = 2\r\n"), 2);
    let DeclKind::Fn { body, .. } = &clean("fn f(x: real) -> real = {\n  let a = x\n  (a + 1) * 2\n}").decls[0].kind
    else {
        panic!("a fn")
    };
    let ExprKind::Block { lets, value } = &body.kind else { panic!("a block: {body:?}") };
    assert!(lets.len() == 1 && matches!(value.kind, ExprKind::Binary { op: BinaryOp::Mul, .. }));
}

#[test]
fn keywords_are_contextual_as_rule_15_says() {
    // Declaration words as columns, latents, arguments and inside a guide.
    let text = "\
data t { data, fit, dist: real, let: int, on: bool, without: category }
latent factor, plate ~ Normal(fit, dist)
latent param[without] ~ Normal(0, 1)
let on = data * fit + dist(let, net: factor)
observe data ~ Normal(on +
  dist * 2, plate)
guide {
  let guide = fit
  param report = 0
  param ~ Normal(guide, 1)
  factor, plate ~ fullrank()
}
dist on(a: real) on real { logpdf(let) = let + a; sample() = on(a); mean = a }
fn dist(fit: real) -> real = {
  let let = fit
  let
}
";
    let ast = clean(text);
    assert_eq!(ast.decls.len(), 8);
    let DeclKind::Guide { items } = &ast.decls[5].kind else { panic!("a guide") };
    assert!(matches!(
        &items[..],
        [GuideItem::Let { .. }, GuideItem::Param { .. }, GuideItem::Sample { .. }, GuideItem::Sample { .. }]
    ));
}

#[test]
fn docs_and_comments_are_kept() {
    let ast = clean("# file\n\n# one\n#two\nlet a = 1 # trailing\nlet b = 2\n");
    assert_eq!(ast.decls[0].doc.as_deref(), Some("one\ntwo"));
    assert_eq!(ast.decls[1].doc, None);
    let comments: Vec<(&str, bool)> = ast.comments.iter().map(|c| (c.text.as_str(), c.own_line)).collect();
    assert_eq!(comments, [("file", true), ("one", true), ("two", true), ("trailing", false)]);
}

#[test]
fn what_follows_an_error_survives() {
    let text = "\
latent a ~ Normal(0 1)
latent b ~ Normal(0, 1)
data t { x: real, y real, z: int }
let c = (1 + 2
observe x ~ Normal(b, 1)
guide {
  b ~ ~ Normal(0, 1)
  rest ~ meanfield()
}
";
    let (ast, diags) = parsed(text);
    let lines: Vec<usize> = diags
        .sorted()
        .iter()
        .map(|d| text[..d.span.expect("a place").start as usize].matches('\n').count() + 1)
        .collect();
    assert_eq!(lines, [1, 3, 4, 7]);
    assert_eq!(ast.decls.len(), 6);
    assert!(matches!(&ast.decls[1].kind, DeclKind::Latent { .. }));
    let DeclKind::Table { fields, .. } = &ast.decls[2].kind else { panic!("a table") };
    assert_eq!(fields.iter().map(|f| f.names[0].name.as_str()).collect::<Vec<_>>(), ["x", "z"]);
    assert!(matches!(&ast.decls[3].kind, DeclKind::Let { .. }), "an unclosed bracket is mended");
    let DeclKind::Guide { items } = &ast.decls[5].kind else { panic!("a guide") };
    assert_eq!(items.len(), 1);
    // What could not be read is known by name, so that no one reports it as unknown.
    assert_eq!(ast.broken.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["a", "y", "b"]);
}

#[test]
fn deep_nesting_is_refused_and_the_rest_survives() {
    for deep in [
        "(".repeat(100_000),
        "-".repeat(100_000) + "1",
        "f(".repeat(50_000) + &")".repeat(50_000),
        "1 + ".repeat(50_000) + "1",
        "a^".repeat(50_000) + "1",
        "if a then b else ".repeat(50_000) + "1",
        "f".to_string() + &"(1)".repeat(50_000),
        "x".to_string() + &".y".repeat(50_000),
        "[".repeat(3000) + "1" + &"]".repeat(3000),
    ] {
        let (ast, diags) = parsed(&format!("let a = {deep}\nlet b = 2\n"));
        assert!(diags.list.iter().any(|d| d.code.id == "V0128"), "{}", &deep[..20]);
        assert!(matches!(&ast.decls[..], [.., Decl { kind: DeclKind::Let { .. }, .. }]));
    }
    // A long list is not deep.
    clean(&format!("let a = [{}1]", "-x * 2 + 1, ".repeat(20_000)));
}

#[test]
fn a_hundred_errors_are_enough() {
    let (ast, diags) = parsed(&"latent a ~ Normal(0 1)\n".repeat(300));
    assert_eq!((ast.decls.len(), diags.list.len()), (300, 100));
    let last = diags.list.last().expect("a hundred");
    assert_eq!(last.notes, ["200 further errors of syntax are not shown"]);
}

/// Pieces of programs, good and bad.
const PIECES: &[&str] = &[
    "data",
    "plate",
    "const",
    "latent",
    "param",
    "let",
    "observe",
    "factor",
    "report",
    "net",
    "fn",
    "dist",
    "guide",
    "fit",
    "import",
    "if",
    "then",
    "else",
    "and",
    "or",
    "not",
    "over",
    "in",
    "by",
    "along",
    "where",
    "from",
    "on",
    "without",
    "x",
    "y",
    "real",
    "int",
    "1",
    "2.5",
    ".5",
    "1.",
    "\"a\"",
    "\"open",
    "'b'",
    "~",
    "=",
    ":",
    ",",
    ";",
    ".",
    "..",
    "?",
    "@",
    "->",
    "|>",
    "+",
    "-",
    "*",
    "/",
    "^",
    "<",
    "<=",
    ">",
    "==",
    "!=",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\n",
    "\n",
    "\n  ",
    "**",
    "&&",
    "||",
    "!",
    "µ",
    "−",
    "$",
    "# c\n",
    "// c\n",
    "model {",
    "target +=",
    "<-",
    ":=",
    "for (i in 1:N) {",
    "real<lower=0>",
    "\u{a0}",
    "\u{0}",
    "é",
    "🦀",
];

/// A few hundred cases; `PROPTEST_CASES` can ask for more.
fn cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(512), failure_persistence: None, ..config }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}|[ -~\\n\\t\\r]{0,300}|(?s).{0,100}") {
        parsed(&text);
    }

    #[test]
    fn any_tokens_are_answered(pieces in prop::collection::vec((0..PIECES.len(), any::<bool>()), 0..80)) {
        let text: String =
            pieces.iter().flat_map(|(i, space)| [PIECES[*i], if *space { " " } else { "" }]).collect();
        let (ast, diags) = parsed(&text);
        if diags.list.is_empty() {
            prop_assert_eq!(tree(&ast), tree(&clean(&print(&ast))));
        }
    }

    #[test]
    fn any_edit_of_a_model_is_answered(
        model in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..6usize, 0..PIECES.len(), any::<bool>()), 1..4),
    ) {
        let models = models();
        let mut text = model.get(&models).1.clone();
        for (place, length, piece, replace) in edits {
            let start = text.floor_char_boundary(place.index(text.len() + 1));
            let end = text.floor_char_boundary((start + if replace { length } else { 0 }).min(text.len()));
            text.replace_range(start..end.max(start), PIECES[piece]);
        }
        let (_, diags) = parsed(&text);
        let mut sources = Sources::default();
        sources.add("edited.vi", text);
        for d in diags.sorted() {
            let shown = render(d, &sources, RenderStyle { width: 80, color: false, unicode: true });
            prop_assert!(!shown.contains("Failed to read"), "{}", shown);
        }
    }

    #[test]
    fn any_expression_prints_to_itself(e in expression()) {
        let span = Span::default();
        let name = Ident { name: "a".into(), span };
        let head = Head { name, axes: vec![], over: vec![], span };
        let kind = DeclKind::Let { head, ty: None, value: e };
        let ast = Ast { decls: vec![Decl { kind, attrs: vec![], span, doc: None }], ..Ast::default() };
        let printed = print(&ast);
        prop_assert_eq!(tree(&ast), tree(&clean(&printed)), "{}", printed);
    }
}

/// Random trees of everything that an expression can be.
pub fn expression() -> impl Strategy<Value = Expr> {
    let at = |kind| Expr { kind, span: Span::default() };
    let ident = |name: &str| Ident { name: name.into(), span: Span::default() };
    let axis = move |filter: Option<Expr>| Axis {
        index: filter.is_some().then(|| ident("t")),
        plate: ident("days"),
        by: filter.is_some().then(|| ident("dog")),
        along: None,
        filter: filter.map(Box::new),
        without: None,
        span: Span::default(),
    };
    let leaf = prop_oneof![
        Just(at(ExprKind::Name("x".into()))),
        Just(at(ExprKind::Name("fit".into()))),
        Just(at(ExprKind::Number { value: 1.5, text: "1.5".into() })),
        Just(at(ExprKind::Text("a b".into()))),
    ];
    leaf.prop_recursive(5, 40, 3, move |inner| {
        use BinaryOp::*;
        let e = inner.clone();
        let op = prop::sample::select(vec![
            Add, Sub, Mul, Div, Pow, Less, LessEq, Greater, GreaterEq, Equal, NotEqual, And, Or,
        ]);
        let unary = prop::sample::select(vec![UnaryOp::Neg, UnaryOp::Not]);
        prop_oneof![
            (op, e.clone(), e.clone())
                .prop_map(move |(op, a, b)| { at(ExprKind::Binary { op, left: Box::new(a), right: Box::new(b) }) }),
            (unary, e.clone()).prop_map(move |(op, a)| at(ExprKind::Unary { op, operand: Box::new(a) })),
            (e.clone(), e.clone(), e.clone()).prop_map(move |(a, b, c)| {
                at(ExprKind::If { condition: Box::new(a), then: Box::new(b), otherwise: Box::new(c) })
            }),
            (e.clone(), e.clone()).prop_map(move |(a, b)| at(ExprKind::Pipe { left: Box::new(a), right: Box::new(b) })),
            (e.clone(), e.clone(), any::<bool>(), prop::option::of(e.clone())).prop_map(
                move |(f, a, named, filter)| {
                    let over = if filter.is_some() { vec![axis(None), axis(filter)] } else { vec![] };
                    let args = vec![Arg { name: named.then(|| ident("log")), value: a, over }];
                    at(ExprKind::Call { callee: Box::new(f), args })
                }
            ),
            (e.clone(), e.clone(), e.clone()).prop_map(move |(b, i, w)| {
                let items = vec![IndexItem::Expr(i), IndexItem::Axis(axis(Some(w)))];
                at(ExprKind::Index { base: Box::new(b), items })
            }),
            e.clone().prop_map(move |b| at(ExprKind::Field { base: Box::new(b), name: ident("mu") })),
            (e.clone(), e, any::<bool>()).prop_map(move |(a, b, labelled)| {
                let label = labelled.then(|| ident("group"));
                at(ExprKind::List(vec![ListItem { label, value: a }, ListItem { label: None, value: b }]))
            }),
        ]
    })
}
