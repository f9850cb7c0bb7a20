// The syntax of `.vi` files, after grammar/vi.lalrpop. Newlines need no tokens: two operands never stand side by side, so
// that a declaration, column or line of a block ends where the next one starts.

const PREC = { if: 0, pipe: 1, or: 2, and: 3, not: 4, compare: 5, sum: 6, product: 7, unary: 8, power: 9, postfix: 10 };

const sep1 = (rule, by) => seq(rule, repeat(seq(by, rule)));
/** One or more; a last separator does no harm. */
const trailing = (rule) => seq(sep1(rule, ","), optional(","));

module.exports = grammar({
  name: "vi",
  word: ($) => $.identifier,
  extras: ($) => [/[\s\uFEFF]/, $.comment],
  supertypes: ($) => [$._declaration, $._expression],

  rules: {
    source_file: ($) => repeat($._declaration),

    comment: (_) => token(seq("#", /[^\n]*/)),
    identifier: (_) => /[A-Za-z_][A-Za-z0-9_]*/,
    number: (_) => /[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?/,
    string: (_) => /"[^"\n]*"/,

    // ---- declarations

    _declaration: ($) =>
      choice(
        $.table,
        $.data_value,
        $.plate,
        $.const,
        $.latent,
        $.param,
        $.let,
        $.observe,
        $.factor,
        $.report,
        $.net,
        $.function,
        $.distribution,
        $.guide,
        $.fit,
        $.import,
      ),

    table: ($) => seq("data", field("name", $.identifier), "{", repeat(seq($.column, optional(","))), "}"),
    column: ($) => seq($._names, ":", field("type", $.type), optional(seq("from", $._source))),
    _source: ($) => choice($.string, seq($.string, "..", $.string), seq("[", trailing($.string), "]")),
    data_value: ($) =>
      seq(
        "data",
        $._names,
        ":",
        field("type", $.type),
        optional(seq("from", $._source)),
        optional(seq("=", $._expression)),
        repeat($.attribute),
      ),
    plate: ($) => seq("plate", field("name", $.identifier), "=", $._expression, repeat($.attribute)),
    const: ($) => seq("const", field("name", $.identifier), "=", $._expression, repeat($.attribute)),
    latent: ($) => seq("latent", sep1($.head, ","), optional($._typed), "~", $._expression, repeat($.attribute)),
    param: ($) => seq("param", $.head, optional($._typed), "=", $._expression, repeat($.attribute)),
    let: ($) => seq("let", $.head, optional($._typed), "=", $._expression, repeat($.attribute)),
    observe: ($) => seq("observe", $._expression, optional($.over), "~", $._expression, repeat($.attribute)),
    factor: ($) => seq("factor", $._expression, repeat($.attribute)),
    report: ($) => seq("report", choice($._names, seq($.head, "=", $._expression)), repeat($.attribute)),
    net: ($) =>
      seq(
        "net",
        field("name", $.identifier),
        optional($.plates),
        $.parameters,
        "->",
        choice($.type, $.parameters),
        "=",
        $._expression,
        optional(seq("~", $._expression)),
      ),
    function: ($) =>
      seq("fn", field("name", $.identifier), optional($.plates), $.parameters, "->", $.type, "=", $._body),
    distribution: ($) =>
      seq(
        "dist",
        field("name", $.identifier),
        optional($.plates),
        $.parameters,
        "on",
        $.type,
        "{",
        repeat(seq($.item, optional(choice(",", ";")))),
        "}",
      ),
    item: ($) =>
      seq(field("name", $.identifier), optional(seq("(", optional($.identifier), ")")), "=", $._body),
    guide: ($) => seq("guide", choice(seq("{", repeat(choice($.let, $.param, $.draw)), "}"), $._expression)),
    draw: ($) => seq($._names, "~", $._expression, repeat($.attribute)),
    fit: ($) => seq("fit", "{", repeat(seq($.option, optional(","))), "}"),
    option: ($) => seq(field("name", $.identifier), ":", $._expression),
    import: ($) => seq("import", $.string),

    attribute: ($) => prec.right(seq("@", field("name", $.identifier), optional($.arguments))),
    plates: ($) => seq("[", sep1($.identifier, ","), "]"),
    parameters: ($) => seq("(", optional(trailing($.parameter)), ")"),
    parameter: ($) => seq(field("name", $.identifier), ":", field("type", $.type)),
    _body: ($) => choice($._expression, $.block),
    block: ($) => seq("{", repeat($.let), $._expression, "}"),

    // ---- names, plates, types

    _names: ($) => sep1(field("name", $.identifier), ","),
    _typed: ($) => seq(":", field("type", $.type)),
    head: ($) =>
      seq(field("name", $.identifier), optional(seq("[", sep1($._axis, ","), "]")), optional($.over)),
    over: ($) => seq("over", choice($._axis, seq("(", sep1($._axis, ","), ")"))),
    _axis: ($) => choice(field("plate", $.identifier), $.binder),
    binder: ($) =>
      choice(
        seq(field("plate", $.identifier), $._without),
        seq(
          field("index", $.identifier),
          "in",
          field("plate", $.identifier),
          optional($._without),
          repeat(choice(seq(choice("by", "along"), $.identifier), seq("where", $._expression))),
        ),
      ),
    _without: ($) => seq("without", $.string),
    type: ($) =>
      seq(
        field("base", $.identifier),
        optional("?"),
        optional(choice(seq("[", sep1($._axis, ","), "]"), seq("[", trailing($.string), "]"))),
        optional($.bound),
      ),
    bound: ($) =>
      choice(
        seq(choice("<", "<=", ">", ">="), $._expression),
        seq("in", choice("(", "["), $._expression, ",", $._expression, choice(")", "]")),
      ),

    // ---- expressions

    _expression: ($) =>
      choice(
        $.if,
        $.binary,
        $.unary,
        $.call,
        $.index,
        $.member,
        $.parenthesized,
        $.list,
        $.identifier,
        $.number,
        $.string,
      ),
    if: ($) => prec.right(PREC.if, seq("if", $._expression, "then", $._expression, "else", $._expression)),
    binary: ($) =>
      choice(
        ...[
          ["|>", PREC.pipe],
          ["or", PREC.or],
          ["and", PREC.and],
          [choice("<", "<=", ">", ">=", "==", "!="), PREC.compare],
          [choice("+", "-"), PREC.sum],
          [choice("*", "/"), PREC.product],
        ].map(([sign, level]) => prec.left(level, seq($._expression, field("operator", sign), $._expression))),
        prec.right(PREC.power, seq($._expression, field("operator", "^"), $._expression)),
      ),
    unary: ($) => choice(prec(PREC.not, seq("not", $._expression)), prec(PREC.unary, seq("-", $._expression))),
    call: ($) => prec(PREC.postfix, seq(field("function", $._expression), $.arguments)),
    // A bracket after a space may begin the next line of a block: `let m = a` and below it `(1 - p) * m`.
    arguments: ($) => seq(token.immediate("("), optional(trailing($._argument)), ")"),
    _argument: ($) => seq(optional($._label), $._expression, optional($.over)),
    _label: ($) => seq(field("label", $.identifier), ":"),
    index: ($) =>
      prec(PREC.postfix, seq(field("value", $._expression), token.immediate("["), sep1(choice($._expression, $.binder), ","), "]")),
    member: ($) => prec(PREC.postfix, seq($._expression, ".", field("part", $.identifier))),
    parenthesized: ($) => seq("(", $._expression, ")"),
    list: ($) => seq("[", trailing(seq(optional($._label), $._expression)), "]"),
  },
});
