"""Pages of the web: what is fetched, what isn't, and what a second sync costs."""

import gzip
import socket
import time

import httpcore2
import pytest

from rag_tools.engine import Engine
from rag_tools.errors import FileTooLargeError, InvalidQueryError, UnreadableFileError
from rag_tools.remote import addresses, fetch
from rag_tools.remote.fetch import Fetcher
from rag_tools.types import WebOptions
from sites import serving

START = """<html><head><title>Tides</title></head><body><nav><a href="/secret/x">x</a></nav><main>
<h1>Tides</h1><p>Spring tides come when sun and moon pull along one line.</p>
<p><a href="/bees.html#top">Bees</a> <a href="deep.html">Deep</a> <a href="http://example.org/far">F</a>
</p></main></body></html>"""
BEES = "<title>Bees</title><p>Bees dance on the comb.</p><a href='/deepest.html'>on</a>"
PAGES = {
    "/": START,
    "/bees.html": BEES,
    "/deep.html": "<title>Deep</title><p>The trench is deep.</p>",
    "/deepest.html": "<title>Deepest</title><p>Nobody was ever there.</p>",
    "/secret/x": "<p>Secret.</p>",
    "/robots.txt": (200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /secret/\n"),
}
HERE = WebOptions(delay=0, allow_private=True)
FOLLOWING = WebOptions(depth=1, delay=0, allow_private=True)


@pytest.fixture
def engine(tmp_path):
    with Engine.open(tmp_path / "index", create=True) as opened:
        yield opened


def uris(engine, site):
    return sorted(each.uri.removeprefix(site.url) for each in engine.documents())


def reasons(report, site):
    return {each.path.removeprefix(site.url): each.reason for each in report.skipped}


def test_a_page_is_indexed_cited_and_not_sent_again(engine):
    with serving(PAGES) as site:
        report = engine.sync([site.url], web=HERE)
        assert (len(report.added), report.skipped) == (1, ())
        hit = engine.search("when do spring tides come?").results[0]
        assert (hit.uri, hit.title) == (f"{site.url}/", "Tides")
        assert hit.citations[0].url.startswith(f"{site.url}/#:~:text=Spring%20tides")
        assert site.paths() == ["/"]
        again = engine.sync()  # with the options of the first time
        assert (again.unchanged, again.added, site.asked[-1]) == (1, (), ("/", 304))
        site.pages["/"] = START.replace("one line", "the same line")
        assert len(engine.sync().updated) == 1
        assert "the same line" in engine.document(hit.document_id).text
    assert "can't be fetched" in reasons(engine.sync(), site)["/"]  # the server is gone
    assert uris(engine, site) == ["/"]


def test_links_are_followed_on_the_same_host_to_a_depth_and_within_robots(engine):
    with serving(PAGES) as site:
        report = engine.sync([site.url], web=FOLLOWING)
        assert uris(engine, site) == ["/", "/bees.html", "/deep.html"]
        assert "robots.txt" in reasons(report, site)["/secret/x"]
        assert sorted(site.paths()) == ["/", "/bees.html", "/deep.html"]
        # What isn't sent again still leads to the same pages.
        assert engine.sync().unchanged == 3
        site.pages["/"] = START.replace('href="deep.html"', "")
        report = engine.sync()
        assert (len(report.updated), len(report.removed)) == (1, 1)
        assert uris(engine, site) == ["/", "/bees.html"]
        site.pages["/bees.html"] = (503, {}, b"")
        assert "503" in reasons(engine.sync(), site)["/bees.html"]
        assert uris(engine, site) == ["/", "/bees.html"]  # it may come back
        del site.pages["/bees.html"]
        assert len(engine.sync().removed) == 1
        assert uris(engine, site) == ["/"]


def test_a_sitemap_and_a_feed_lead_to_their_pages(engine):
    with serving(PAGES) as site:
        listed = "".join(
            f"<url><loc>{site.url}/{name}</loc></url>" for name in ("bees.html", "deep.html")
        )
        inner = gzip.compress(
            f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{listed}</urlset>'.encode()
        )
        site.pages["/inner.xml.gz"] = (200, {"Content-Type": "application/gzip"}, inner)
        outer = (
            f"<sitemapindex><sitemap><loc>{site.url}/inner.xml.gz</loc></sitemap></sitemapindex>"
        )
        site.pages["/sitemap.xml"] = (200, {"Content-Type": "text/xml"}, outer.encode())
        feed = (
            '<feed xmlns="http://www.w3.org/2005/Atom"><entry><link href="/deepest.html"/></entry>'
            '<entry><link href="http://example.org/far"/></entry></feed>'
        )
        site.pages["/feed"] = (200, {"Content-Type": "application/atom+xml"}, feed.encode())
        report = engine.sync([f"{site.url}/sitemap.xml", f"{site.url}/feed"], web=HERE)
        assert uris(engine, site) == ["/bees.html", "/deep.html", "/deepest.html"]
        assert "1 of the pages that it lists" in reasons(report, site)["/feed"]


def test_other_formats_are_told_by_their_type(engine):
    text = {"Content-Type": "text/plain; charset=latin-1"}
    pages = {
        "/a.php?id=1": (200, {"Content-Type": "text/html"}, b"<h1>One</h1><p>The first.</p>"),
        "/notes.md": (200, {"Content-Type": "text/plain"}, b"# Notes\n\nKeep them.\n"),
        "/old": (200, text, "Die Flut kommt spät.\n".encode("latin-1")),
        "/map.png": (200, {"Content-Type": "image/png"}, b"\x89PNG"),
    }
    with serving(pages) as site:
        report = engine.sync([site.url + path for path in pages], web=HERE)
        found = {each.uri.removeprefix(site.url): each for each in engine.documents()}
        assert sorted(found) == ["/a.php?id=1", "/notes.md", "/old"]
        assert found["/notes.md"].media_type == "text/markdown"
        assert engine.document(found["/old"].id).text == "Die Flut kommt spät.\n"
        assert "no loader" in reasons(report, site)["/map.png"]


def test_private_addresses_are_refused_unless_they_are_allowed(engine):
    with serving(PAGES) as site:
        report = engine.sync([site.url], web=WebOptions(delay=0))
        assert "private network" in reasons(report, site)["/"] and site.asked == []
        with Fetcher(allow_private=False, max_bytes=1000) as fetcher:
            with pytest.raises(UnreadableFileError, match=r"127\.0\.0\.1 belongs to a private"):
                fetcher.get(site.url)
            with pytest.raises(UnreadableFileError, match=r"localhost: .* private network"):
                fetcher.get(site.url.replace("127.0.0.1", "localhost"))


def test_a_redirect_to_a_private_address_is_refused_where_it_is_connected_to(monkeypatch):
    # Names of the public Internet are made to lead to this machine, which counts as public here.
    with serving(PAGES) as site, serving(PAGES) as inner:
        port, port_inside = (int(each.url.rpartition(":")[2]) for each in (site, inner))
        target = {"Location": f"http://inside.example:{port_inside}/"}
        site.pages["/away"] = (302, target, b"")
        known = {"outside.example": "127.0.0.1", "inside.example": "127.0.0.2"}
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, port, *_, **__: [(2, 1, 6, "", (known.get(host, host), port))],
        )
        monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
        with Fetcher(allow_private=False, max_bytes=10_000) as fetcher:
            assert fetcher.get(f"http://outside.example:{port}/").status == 200
            with pytest.raises(UnreadableFileError, match=r"inside\.example: 127\.0\.0\.2 belongs"):
                fetcher.get(f"http://outside.example:{port}/away")
        assert inner.asked == []


def test_a_name_is_resolved_once_for_the_check_and_the_connection(monkeypatch):
    asked = []

    def rebinding(host, port, *_, **__):
        asked.append(host)
        return [(2, 1, 6, "", ("93.184.216.34" if len(asked) == 1 else "127.0.0.1", port))]

    connected = []

    def connect(self, host, port, *_, **__):
        connected.append(host)
        raise httpcore2.ConnectError("not here")

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", connect)
    with (
        Fetcher(allow_private=False, max_bytes=1000) as fetcher,
        pytest.raises(UnreadableFileError, match="can't be fetched"),
    ):
        fetcher.get("http://rebinding.example/")
    assert (asked, connected) == (["rebinding.example"], ["93.184.216.34"])


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org/", "http://ada:secret@example.org/", "https://", "http://exa mple.org/"],
)
def test_urls_that_are_not_of_the_web_are_refused(engine, url, tmp_path):
    if url.startswith("http"):
        with pytest.raises(InvalidQueryError, match="isn't a URL that can be fetched"):
            engine.sync([url])
    else:
        assert engine.sync([url]).skipped  # there is no such file


def drip(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def test_limits_of_size_time_and_redirects(monkeypatch):
    packed = gzip.compress(bytes(5_000_000))
    bomb = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    pages = {
        "/bomb": (200, bomb, packed),
        "/drip": drip,
        "/round": (302, {"Location": "/round"}, b""),
        "/file": (302, {"Location": "file:///etc/passwd"}, b""),
    }
    monkeypatch.setattr(fetch, "_SECONDS", 1.0)
    with serving(pages) as site, Fetcher(allow_private=True, max_bytes=1_000_000) as fetcher:
        with pytest.raises(FileTooLargeError, match="more than 1,000,000 bytes"):
            fetcher.get(f"{site.url}/bomb")
        with pytest.raises(UnreadableFileError, match="redirects more than 5 times"):
            fetcher.get(f"{site.url}/round")
        with pytest.raises(UnreadableFileError, match="'file:///etc/passwd', which isn't fetched"):
            fetcher.get(f"{site.url}/file")
        with pytest.raises(UnreadableFileError, match="drip: can't be fetched"):
            fetcher.get(f"{site.url}/drip")


def test_a_crawl_that_reaches_its_limit_removes_nothing(engine):
    with serving(PAGES) as site:
        engine.sync([site.url], web=FOLLOWING)
        few = WebOptions(depth=1, max_pages=1, delay=0, allow_private=True)
        report = engine.sync([site.url], web=few)
        assert report.removed == () and any("--max-pages" in each.reason for each in report.skipped)
        assert len(uris(engine, site)) == 3


def test_a_page_that_asks_not_to_be_indexed_is_not(engine):
    page = "<meta name=ROBOTS content='noindex, nofollow'><p>Words.</p><a href=/bees.html>b</a>"
    with serving({**PAGES, "/no": page}) as site:
        report = engine.sync([f"{site.url}/no"], web=FOLLOWING)
        assert "asks not to be indexed" in reasons(report, site)["/no"]
        assert uris(engine, site) == []


def test_callers_with_some_folders_get_nothing_from_the_web(engine, tmp_path):
    with pytest.raises(InvalidQueryError, match="isn't in a folder that may be indexed"):
        engine.sync(["https://example.org/"], within=[tmp_path])
