"""The citation viewer: a page that a host shows beside the result of `search` or `cite`.

It is an MCP App (SEP-1865): the tools name the page, and the host loads it into a frame without
permissions and passes each result to it. The HTML to show is part of the result, in `_meta`, which
hosts don't give to the model. A host without frames shows the text of the result.
"""

from __future__ import annotations

from typing import Any

from mcp.server.apps import Apps, ResourceCsp

from rag_tools import __version__
from rag_tools.cite.heatmap import STYLE, csp_hash

URI = "ui://rag-tools/citations.html"

TOOL_META: dict[str, Any] = {"ui": {"resourceUri": URI}}
"""The metadata of a tool whose results the viewer shows."""

VIEW = "rag-tools/view"
"""The key in `_meta` of a result under which its HTML is."""

# The host uses JSON-RPC over postMessage. The frame can reach nothing but its parent.
_SCRIPT = """
"use strict";
const view = document.getElementById("view");
const note = document.getElementById("note");
const opening = new Map();
let last = 0;
function send(message) {
  parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
}
function theme(context) {
  if (context && context.theme) document.documentElement.style.colorScheme = context.theme;
}
function fit() {
  const { width, height } = document.documentElement.getBoundingClientRect();
  const params = { width: Math.ceil(width), height: Math.ceil(height) };
  send({ method: "ui/notifications/size-changed", params });
}
function show(result) {
  const html = result._meta && result._meta["@VIEW@"];
  if (typeof html === "string" && !result.isError) view.innerHTML = html;
  else view.textContent = (result.content || []).map((item) => item.text || "").join("\\n");
  fit();
}
addEventListener("message", (event) => {
  const message = event.data;
  if (event.source !== parent || !message || message.jsonrpc !== "2.0") return;
  if (message.method === "ui/notifications/tool-result") show(message.params);
  else if (message.method === "ui/notifications/host-context-changed") theme(message.params);
  else if (message.method && message.id !== undefined) send({ id: message.id, result: {} });
  else if (message.id === 0 && message.result) {
    theme(message.result.hostContext);
    send({ method: "ui/notifications/initialized", params: {} });
    new ResizeObserver(fit).observe(document.documentElement);
  } else if (opening.has(message.id)) {
    // Many hosts open only web pages: then a person can at least read the address.
    note.textContent = message.error ? "The source is at " + opening.get(message.id) : "";
    opening.delete(message.id);
  }
});
addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link) return;
  event.preventDefault();
  opening.set(++last, link.href);
  send({ id: last, method: "ui/open-link", params: { url: link.href } });
});
send({
  id: 0,
  method: "ui/initialize",
  params: {
    protocolVersion: "2026-01-26",
    appInfo: { name: "rag-tools", version: "@VERSION@" },
    appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
  },
});
""".replace("@VIEW@", VIEW).replace("@VERSION@", __version__)

# Hashes rather than 'unsafe-inline': even if a document's text became markup, it couldn't run.
_POLICY = (
    f"default-src 'none'; script-src '{csp_hash(_SCRIPT)}'; style-src '{csp_hash(STYLE)}'; "
    "base-uri 'none'; form-action 'none'"
)

PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>Citations</title>
<style>{STYLE}</style>
</head>
<body>
<main id="view"></main>
<p id="note" class="where"></p>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def viewer() -> Apps:
    """Return the extension that serves the page."""
    apps = Apps()
    apps.add_html_resource(
        URI,
        PAGE,
        name="citations",
        title="Citations",
        description="Shows passages with their quotes marked and the relevant words coloured.",
        csp=ResourceCsp(),
        prefers_border=True,
    )
    return apps
