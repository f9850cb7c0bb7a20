// Starts `vic lsp` and lets the editor talk to it.
"use strict";

const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function start() {
  const command = vscode.workspace.getConfiguration("vic").get("path", "vic");
  const server = { command, args: ["lsp"] };
  client = new LanguageClient("vic", "vic", server, { documentSelector: [{ language: "vi-model" }] });
  try {
    await client.start();
  } catch (e) {
    client = undefined;
    vscode.window.showErrorMessage(`vic: cannot start \`${command} lsp\` (${e.message}). Set "vic.path" to the program.`);
  }
}

async function stop() {
  const running = client;
  client = undefined;
  await running?.stop();
}

exports.activate = async function (context) {
  context.subscriptions.push(
    vscode.commands.registerCommand("vic.restart", async () => {
      await stop();
      await start();
    }),
    vscode.workspace.onDidChangeConfiguration(async (e) => {
      if (e.affectsConfiguration("vic.path")) {
        await stop();
        await start();
      }
    }),
  );
  await start();
};

exports.deactivate = stop;
