// Every good program of the repository parses: the library, the examples, the models of the tests, the user's pages.
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const test = require("node:test");
const assert = require("node:assert");

const here = path.join(__dirname, "..");
const root = path.join(here, "..", "..");

function files(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const at = path.join(folder, entry.name);
    if (entry.isDirectory()) return files(at);
    return entry.name.endsWith(".vi") ? [at] : [];
  });
}

/** The programs of a page, as files of their own. */
function programs(page, folder) {
  const blocks = fs.readFileSync(path.join(root, page), "utf8").split("```vi\n").slice(1);
  return blocks.map((block, i) => {
    const at = path.join(folder, `${path.basename(page)}_${i + 1}.vi`);
    fs.writeFileSync(at, block.split("```")[0]);
    return at;
  });
}

test("every good program parses", () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "vi-"));
  const all = [
    ...["stdlib", "examples", "tests/models/posteriordb", "tests/models/textbook"].flatMap((f) => files(path.join(root, f))),
    ...["README.md", "docs/language.md"].flatMap((page) => programs(page, folder)),
  ];
  assert.ok(all.length > 80, `only ${all.length} programs`);
  const cli = process.env.TREE_SITTER ?? "tree-sitter";
  try {
    execFileSync(cli, ["parse", "--quiet", ...all], { cwd: here, encoding: "utf8" });
  } catch (e) {
    assert.fail(e.stdout || e.stderr || String(e));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
