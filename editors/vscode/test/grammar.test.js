// The TextMate grammar against the lexer: on every program of the repository, comments, quoted texts, numbers and reserved
// words are coloured as such, whatever stands around them.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const test = require("node:test");
const oniguruma = require("vscode-oniguruma");
const textmate = require("vscode-textmate");

const root = path.join(__dirname, "..");
const repository = path.join(root, "..", "..");

async function grammar() {
  const wasm = fs.readFileSync(require.resolve("vscode-oniguruma/release/onig.wasm")).buffer;
  await oniguruma.loadWASM(wasm);
  const registry = new textmate.Registry({
    onigLib: Promise.resolve({
      createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
      createOnigString: (text) => new oniguruma.OnigString(text),
    }),
    loadGrammar: async () => {
      const file = path.join(root, "syntaxes", "vi.tmLanguage.json");
      return textmate.parseRawGrammar(fs.readFileSync(file, "utf8"), file);
    },
  });
  return registry.loadGrammar("source.vi-model");
}

function programs(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) return programs(file);
    return file.endsWith(".vi") ? [file] : [];
  });
}

// What the lexer of the compiler makes of a line (src/syntax/token.rs).
const LEXEMES = /#.*|"[^"\n]*"|[A-Za-z_][A-Za-z0-9_]*|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/g;
const RESERVED = new Set("if then else and or not over in by along where from".split(" "));

function expected(word) {
  if (word.startsWith("#")) return "comment";
  if (word.startsWith('"')) return "string";
  if (/^[0-9]/.test(word)) return "constant.numeric";
  return RESERVED.has(word) ? "keyword.control" : undefined;
}

test("every program is coloured as the lexer reads it", async () => {
  const vi = await grammar();
  const files = ["examples", "stdlib", "tests/models"].flatMap((f) => programs(path.join(repository, f)));
  assert.ok(files.length > 20, "the programs are found");
  let words = 0;
  for (const file of files) {
    let state = textmate.INITIAL;
    fs.readFileSync(file, "utf8").split("\n").forEach((line, row) => {
      const { tokens, ruleStack } = vi.tokenizeLine(line, state);
      state = ruleStack;
      for (const match of line.matchAll(LEXEMES)) {
        const wanted = expected(match[0]);
        if (!wanted) continue;
        words += 1;
        const token = tokens.find((t) => t.startIndex <= match.index && match.index < t.endIndex);
        assert.ok(
          token.scopes.some((s) => s.startsWith(wanted)),
          `${file}:${row + 1}: ${match[0]} is ${token.scopes.join(" ")}, not ${wanted}`,
        );
      }
    });
  }
  assert.ok(words > 1000, "there was something to compare");
});

test("declarations, distributions and attributes have scopes of their own", async () => {
  const vi = await grammar();
  const scopes = (line) => {
    const out = {};
    for (const t of vi.tokenizeLine(line, textmate.INITIAL).tokens) {
      out[line.slice(t.startIndex, t.endIndex).trim()] = t.scopes[t.scopes.length - 1];
    }
    return out;
  };
  const line = scopes('latent theta[schools] ~ Normal(mu, sigma: 2) @noncentered # a comment');
  assert.strictEqual(line.latent, "keyword.declaration.vi-model");
  assert.strictEqual(line.theta, "variable.other.declaration.vi-model");
  assert.strictEqual(line.Normal, "support.class.distribution.vi-model");
  assert.strictEqual(line.sigma, "variable.parameter.vi-model");
  assert.strictEqual(line["@noncentered"], "entity.name.function.decorator.vi-model");
  assert.strictEqual(line["# a comment"], "comment.line.number-sign.vi-model");
});
