"""The citation viewer, in a real browser: a host that frames it, hands it results, and looks."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.extension import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID

from browser import ARGUMENTS, BROWSER, browser
from rag_tools.cite.heatmap import csp_hash
from rag_tools.engine import Engine
from rag_tools.types import Document
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.server import build
from rag_tools_mcp.viewer import PAGE, URI, VIEW

# Plays the host's part, then writes down what it sees. The frame may share its origin with the
# host only here, so that the host can look into it.
HOST = """<!doctype html><meta charset="utf-8"><body><script>
const input = JSON.parse(atob("@INPUT@"));
const heard = [];
const frame = document.createElement("iframe");
frame.sandbox = "allow-scripts allow-same-origin";
addEventListener("message", ({ data }) => {
  heard.push(data);
  const send = (message) => frame.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
  if (data.method === "ui/initialize")
    send({ id: data.id, result: { hostContext: { theme: "dark" } } });
  if (data.method === "ui/notifications/initialized") {
    send({ method: "ui/notifications/tool-input", params: { arguments: {} } });
    send({ method: "ui/notifications/tool-result", params: input });
    send({ id: "bye", method: "ui/resource-teardown", params: {} });
  }
  if (data.method === "ui/open-link") send({ id: data.id, error: { code: -32000, message: "no" } });
  if (data.id === "bye" && data.result) {
    const link = frame.contentDocument.querySelector("a");
    if (link) link.click();
    setTimeout(report, 300);
  }
});
function report() {
  const inside = frame.contentDocument;
  const view = inside.getElementById("view");
  const all = (selector) => [...view.querySelectorAll(selector)].map((e) => e.textContent);
  const seen = {
    text: all(".text"), marked: all("mark"), coloured: all("span[class^=s]"),
    plain: view.children.length ? null : view.textContent,
    elements: [...new Set([...view.querySelectorAll("*")].map((e) => e.localName))],
    owned: [window.owned, frame.contentWindow.owned].filter((each) => each !== undefined),
    background: [...view.querySelectorAll(".s9")].map((e) => getComputedStyle(e).backgroundColor),
    scheme: inside.documentElement.style.colorScheme, note: inside.getElementById("note").innerText,
    heard,
  };
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
}
frame.srcdoc = new TextDecoder().decode(Uint8Array.from(atob("@PAGE@"), (c) => c.charCodeAt(0)));
document.body.append(frame);
</script></body>"""


def seen(result: dict[str, Any], tmp_path: Path, page: str = PAGE) -> dict[str, Any]:
    """Return what a person and a host see of a tool's result."""
    from base64 import b64encode

    assert BROWSER is not None
    host = HOST.replace("@INPUT@", b64encode(json.dumps(result).encode()).decode())
    host = host.replace("@PAGE@", b64encode(page.encode()).decode())
    file = tmp_path / "host.html"
    file.write_text(host, encoding="utf-8")
    command = [
        *(BROWSER, *ARGUMENTS),
        *("--virtual-time-budget=10000", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--dump-dom", file.as_uri()),
    ]
    finished = subprocess.run(command, capture_output=True, check=True, timeout=120)
    dumped = finished.stdout.decode("utf-8")
    found = re.search(r'<pre id="seen">(.*?)</pre>', dumped, re.DOTALL)
    assert found, dumped[-2000:]
    return json.loads(html.unescape(found[1]))


def results(
    index: Path,
    calls: list[tuple[str, dict[str, Any]]],
    *,
    apps: bool = True,
    mode: str = "auto",
) -> list[Any]:
    async def ask() -> list[Any]:
        ui = advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})
        server = build(Collections({"default": index}))
        async with Client(server, extensions=[ui] if apps else [], mode=mode) as client:
            return [await client.call_tool(*call) for call in calls]

    return anyio.run(ask)


SEARCH = ("search", {"query": "two high tides a day"})
CITE = ("cite", {"claim": "Most coasts see two high tides a day."})


def test_the_tools_name_the_page_and_the_server_has_it(index_dir: Path):
    async def ask() -> None:
        async with Client(build(Collections({"default": index_dir}))) as client:
            assert EXTENSION_ID in (client.server_capabilities.extensions or {})
            for tool in (await client.list_tools()).tools:
                ui = (tool.meta or {}).get("ui")
                assert ui == ({"resourceUri": URI} if tool.name in ("search", "cite") else None)
            (content,) = (await client.read_resource(URI)).contents
            assert content.mime_type == APP_MIME_TYPE
            assert content.text == PAGE
            assert content.meta == {"ui": {"csp": {}, "prefersBorder": True}}

    anyio.run(ask)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_host_without_frames_gets_the_same_result_and_no_page(index_dir: Path, mode: str):
    for call in (SEARCH, CITE):
        (plain,) = results(index_dir, [call], apps=False, mode=mode)
        (shown,) = results(index_dir, [call], mode=mode)
        assert VIEW not in (plain.meta or {})
        assert shown.meta[VIEW]
        assert plain.structured_content == shown.structured_content
        assert plain.content == shown.content


def test_the_page_loads_nothing_and_runs_only_its_own_script():
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', PAGE)[1])
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    (script,) = re.findall(r"<script>(.*?)</script>", PAGE, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", PAGE, re.DOTALL)
    assert directives == {
        "default-src": "'none'",
        "script-src": f"'{csp_hash(script)}'",
        "style-src": f"'{csp_hash(style)}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not re.search(r"https?://|\ssrc=|\shref=|@import", PAGE)


@browser
@pytest.mark.parametrize("call", [SEARCH, CITE], ids=["search", "cite"])
def test_a_person_sees_the_quotes_and_the_words_that_matched(
    index_dir: Path, tmp_path: Path, call: tuple[str, dict[str, Any]]
):
    (result,) = results(index_dir, [call])
    found = seen(result.model_dump(mode="json", by_alias=True), tmp_path)
    content = result.structured_content
    if call is SEARCH:
        assert [hit["text"][:30] for hit in content["results"]] == [t[:30] for t in found["text"]]
    quote = "That is why most coasts see two high tides a day."
    assert quote in found["marked"]
    assert {"tides", "two"} <= set(found["coloured"])
    assert "rgba(255, 120, 0, 0.72)" in found["background"]
    assert found["scheme"] == "dark"
    methods = [message.get("method") for message in found["heard"]]
    assert methods[:2] == ["ui/initialize", "ui/notifications/initialized"]
    assert "ui/notifications/size-changed" in methods
    (opened,) = (each["params"] for each in found["heard"] if each.get("method") == "ui/open-link")
    first = content["results"][0] if call is SEARCH else content["citations"][0]
    assert opened == {"url": first["url"]}
    assert first["url"] in found["note"]  # this host doesn't open links


@browser
def test_what_a_document_holds_is_shown_and_never_run(tmp_path: Path):
    text = (
        "<script>window.owned = 1; parent.owned = 1</script> "
        '<img src="x" onerror="window.owned = 2; parent.owned = 2"> '
        "</div></main><iframe srcdoc='<script>parent.owned=3</script>'></iframe> hostile tides."
    )
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.add([Document(uri="javascript:parent.owned=4", title=text, text=text)])
    calls = [("search", {"query": f"hostile tides {text}"}), ("cite", {"claim": "hostile tides"})]
    for result in results(tmp_path / "index", calls):
        found = seen(result.model_dump(mode="json", by_alias=True), tmp_path)
        assert found["owned"] == []
        assert text in "".join(found["text"])
        assert set(found["elements"]) <= {"h1", "h2", "p", "div", "span", "mark"}
        assert not any(message.get("method") == "ui/open-link" for message in found["heard"])


@browser
def test_even_markup_in_a_result_runs_nothing(tmp_path: Path):
    markup = '<div class="text">x</div><img src="x" onerror="owned = 1; parent.owned = 1">'
    found = seen({"content": [], "_meta": {VIEW: markup}}, tmp_path)
    assert found["text"] == ["x"]
    assert found["owned"] == []
    # The same without the policy does run: it is the policy that forbids it.
    loose = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", PAGE)
    assert loose != PAGE
    assert seen({"content": [], "_meta": {VIEW: markup}}, tmp_path, loose)["owned"] == [1, 1]


@browser
@pytest.mark.parametrize(
    "result",
    [
        {"content": [{"type": "text", "text": "a <b>bold</b> claim"}]},
        {"content": [{"type": "text", "text": "a <b>bold</b> claim"}], "isError": True},
    ],
    ids=["without a view", "error"],
)
def test_other_results_are_shown_as_text(tmp_path: Path, result: dict[str, Any]):
    assert seen(result, tmp_path)["plain"] == "a <b>bold</b> claim"
