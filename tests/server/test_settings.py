"""Settings: what is accepted and what is refused; and how callers' requests are counted."""

from __future__ import annotations

import re
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from rag_tools.errors import ConfigurationError
from rag_tools_mcp.auth import authenticator
from rag_tools_mcp.limits import BusyError, Gate, Rate
from rag_tools_mcp.metrics import Metrics
from rag_tools_mcp.settings import TOKEN_VARIABLE, Limits, Settings, load


def test_a_file_and_what_is_given_beside_it(tmp_path: Path):
    file = tmp_path / "server.toml"
    file.write_text(
        """
        allow_write = ["notes"]
        [collections]
        notes = "index"
        papers = "/srv/papers"
        [http]
        address = "[::1]:80"
        workers = 3
        allowed_origins = ["https://App.example.com/"]
        [[http.tokens]]
        name = "ci"
        file = "secret"
        """
    )
    settings = load(file, {"http": {"workers": 5}})
    assert settings.collections == {
        "notes": tmp_path / "index",
        "papers": Path("/srv/papers").absolute(),
    }
    assert settings.allow_write == (tmp_path / "notes",)
    assert settings.http is not None
    assert (settings.http.host, settings.http.port, settings.http.workers) == ("::1", 80, 5)
    assert settings.http.tokens[0].file == tmp_path / "secret"
    assert "https://app.example.com" in settings.http.origins
    assert "http://localhost" in settings.http.origins
    assert load(file, {"collections": {"only": tmp_path}}).collections == {"only": tmp_path}


def test_without_anything_it_is_standard_input_and_output():
    settings = load()
    assert settings.http is None
    assert settings.collections == {"default": None}


OUTSIDE = {"address": "0.0.0.0:80"}
TOKEN = {"name": "a", "env": "A"}
ISSUER = {"url": "https://x", "audience": "https://y", "jwks": "keys.json"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"htp": {}}, "unknown key htp"),
        ({"http": {"limits": {"quee": 1}}}, "unknown key http.limits.quee"),
        ({"http": {"tokens": [{**TOKEN, "scope": "read"}]}}, "unknown key http.tokens.0.scope"),
        ({"http": {"limits": {"calls": 0}}}, "http.limits.calls"),
        ({"http": {"limits": {"request_bytes": 0}}}, "http.limits.request_bytes"),
        ({"http": {"limits": {"response_bytes": "large"}}}, "http.limits.response_bytes"),
        ({"http": {"workers": "many"}}, "http.workers"),
        ({"profile": "none"}, "profile"),
        ({"collections": {}}, "collections"),
        ({"collections": {"A b": "x"}}, "'A b' is not a valid name of a collection"),
        ({"http": {"address": "here"}}, "'here' is not an address: write HOST:PORT"),
        ({"http": {"address": "::1:80"}}, "is not an address: write HOST:PORT"),
        ({"http": {"address": "127.0.0.1:99999"}}, "is not an address: write HOST:PORT"),
        ({"http": OUTSIDE}, "add a token (--token-file FILE, $RAG_TOOLS_TOKEN"),
        ({"http": OUTSIDE}, "--allow-host NAME"),
        ({"http": {**OUTSIDE, "tokens": [TOKEN]}}, "add the host names that clients use"),
        ({"http": {**OUTSIDE, "allowed_hosts": ["x"]}}, "add a token"),
        ({"http": {"address": "example.com:80"}}, "can be reached from other machines"),
        ({"http": {"address": "[::]:80"}}, "can be reached from other machines"),
        ({"http": {"address": "192.168.1.2:80"}}, "can be reached from other machines"),
        ({"http": {"tokens": [{"name": "a"}]}}, "token 'a' needs exactly one of file and env"),
        ({"http": {"tokens": [{**TOKEN, "file": "x"}]}}, "needs exactly one of file and env"),
        ({"http": {"tokens": [TOKEN, TOKEN]}}, "two tokens have the name 'a'"),
        ({"http": {"tokens": [{**TOKEN, "scopes": ["admin"]}]}}, "http.tokens.0.scopes"),
        ({"http": {"tokens": [{**TOKEN, "collections": ["x"]}]}}, "no collection 'x'"),
        ({"http": {"issuer": {**ISSUER, "collections": ["x"]}}}, "no collection 'x'"),
        ({"http": {"issuer": {**ISSUER, "jwks": "http://keys.example.com"}}}, "use https"),
        ({"http": {"issuer": {**ISSUER, "jwks": "http://127.0.0.1.evil.com"}}}, "use https"),
        ({"http": {"issuer": {**ISSUER, "jwks": "http://localhost@evil.com"}}}, "use https"),
    ],
)
def test_what_cannot_be_used_is_named(given: dict[str, Any], says: str):
    with pytest.raises(ConfigurationError) as error:
        load(given=given)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize(
    ("written", "size"),
    [(5_000, 5_000), ("4MiB", 4 * 2**20), ("1.5 MB", 1_500_000), ("64k", 64_000)],
)
def test_a_size_is_a_number_of_bytes_or_has_a_unit(written: int | str, size: int):
    http = load(given={"http": {"limits": {"request_bytes": written}}}).http
    assert http is not None
    assert http.limits.request_bytes == size


def test_what_is_safe_to_expose():
    for guard in ({"tokens": [TOKEN]}, {"issuer": ISSUER}):
        exposed = load(
            given={"http": {**OUTSIDE, "allowed_hosts": ["Search.example.com"], **guard}}
        )
        assert exposed.http is not None
        assert exposed.http.hosts == {"search.example.com"}
        assert exposed.http.origins == set()
        assert exposed.http.guarded


def test_a_file_that_is_none(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"can't read .*nothing\.toml"):
        load(tmp_path / "nothing.toml")
    (tmp_path / "broken.toml").write_text("[http")
    with pytest.raises(ConfigurationError, match=r"can't read .*broken\.toml"):
        load(tmp_path / "broken.toml")


def test_the_token_in_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "t" * 20)
    settings = load(given={"http": {"address": "127.0.0.1:0"}})
    assert settings.http is not None
    assert [token.env for token in settings.http.tokens] == [TOKEN_VARIABLE]
    assert "tttt" not in repr(settings)
    assert load().http is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "can't read token 'a'"),
        ("", "has 0 characters"),
        (" short \n", "has 5 characters"),
        ("\udcff", "can't read token 'a'"),
    ],
)
def test_tokens_that_protect_nothing(tmp_path: Path, content: str | None, says: str):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content.encode("utf-8", "surrogateescape"))
    http = load(given={"http": {"tokens": [{"name": "a", "file": file}]}}).http
    assert http is not None
    with pytest.raises(ConfigurationError, match=says) as error:
        authenticator(http)
    assert "short" not in str(error.value)


def test_keys_that_are_none(tmp_path: Path):
    keys = tmp_path / "keys.json"
    for content in ("", "{}", '{"keys": []}', "[]"):
        keys.write_text(content)
        http = load(given={"http": {"issuer": {**ISSUER, "jwks": str(keys)}}}).http
        assert http is not None
        with pytest.raises(ConfigurationError, match="can't read the issuer's keys"):
            authenticator(http)


@given(
    size=st.integers(1, 50),
    asked=st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 100)), max_size=100),
)
def test_a_rate_holds_over_any_time(size: int, asked: list[tuple[str, float]]):
    now = [0.0]
    rate, admitted = Rate(size, clock=lambda: now[0]), dict[str, list[float]](a=[], b=[])
    for caller, pause in asked:
        now[0] += pause
        wait = rate.admit(caller)
        if not wait:
            admitted[caller].append(now[0])
        else:
            now[0] += wait + 1e-6
            assert rate.admit(caller) == 0
            admitted[caller].append(now[0])
    for times in admitted.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                most = size + (times[last] - times[first]) * size / 60
                assert last - first + 1 <= most + 1e-3


def test_a_gate_counts_who_is_inside():
    gate = Gate(1, waiting=2, burst=2, per_caller=2)
    with gate.enter("a"), gate.enter("a"):
        with pytest.raises(BusyError, match="you have 2"), gate.enter("a"):
            pass
        with gate.enter("b"), pytest.raises(BusyError, match="3 calls are"), gate.enter("c"):
            pass
        with pytest.raises(KeyError), gate.enter("b"):
            raise KeyError
        assert gate.total == 2
    assert gate.total == 0
    with gate.enter("a"), gate.enter("a"):
        pass


def test_a_burst_may_wait_and_a_standing_queue_may_not():
    now = [0.0]
    gate = Gate(2, waiting=1, burst=5, per_caller=99, clock=lambda: now[0])

    def together() -> int:
        """Return how many calls are let in at once; they end at once as well."""
        with ExitStack() as calls:
            for count in range(99):
                try:
                    calls.enter_context(gate.enter("a"))
                except BusyError:
                    return count
        raise AssertionError

    assert together() == 7
    assert together() == 3  # no time has passed
    now[0] += 0.25
    assert together() == 4
    with gate.enter("a"):
        now[0] += 0.5  # of which one core of two was free
        assert together() == 3
    with gate.enter("a"), gate.enter("a"):
        now[0] += 60
    assert together() == 3
    now[0] += 60
    assert together() == 7


def test_those_that_are_refused_may_come_back_one_after_the_other():
    now = [0.0]
    gate = Gate(2, waiting=0, burst=0, per_caller=9, clock=lambda: now[0])

    def refused(caller: str = "b") -> float:
        with pytest.raises(BusyError) as error, gate.enter(caller):
            pass
        return now[0] + error.value.retry

    with gate.enter("a"), gate.enter("a"):
        returns = [refused() for _ in range(64)]
        assert returns[0] == 1
        apart = [later - earlier for earlier, later in pairwise(returns)]
        assert apart == pytest.approx([0.05] * 63)
        now[0] += 2
        assert refused() == pytest.approx(returns[-1] + 0.05)
        # Who comes back too early doesn't make the others wait for ever.
        assert max(refused() for _ in range(1000)) <= now[0] + 10
        now[0] += 60
        assert refused() == now[0] + 1
    gate = Gate(9, waiting=0, burst=0, per_caller=1, clock=lambda: now[0])
    with gate.enter("a"):
        assert [refused("a") for _ in range(9)] == [now[0] + 1] * 9


def keys(model: type[BaseModel]) -> set[str]:
    found = set(model.model_fields)
    for field in model.model_fields.values():
        for each in (field.annotation, *get_args(field.annotation)):
            if isinstance(each, type) and issubclass(each, BaseModel):
                found |= keys(each)
    return found


def test_the_documentation_shows_every_key_and_metric():
    text = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
    for key in keys(Settings):
        assert re.search(rf"\b{key}\b", text), key
    for reason in ("host", "origin", "token", "rate", "open", "size", "slow", "connections"):
        assert f"`{reason}`" in text
    for name in re.findall(r"^# TYPE (rag_tools_\w+)", Metrics().render({}).decode(), re.M):
        short = name.removesuffix("_created")
        assert re.search(rf"`{short}", text), name
    for limit, field in Limits.model_fields.items():
        row = re.search(rf"^\|[^|]*`{limit}`[^|]*\| (.*?) \|", text, re.MULTILINE)
        assert row, limit
        shown = {"4 MiB": 4 * 2**20}.get(row[1]) or row[1]
        if field.default is not None:
            assert str(field.default) == str(shown), limit


def test_the_settings_in_the_documentation_are_accepted(tmp_path: Path):
    text = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "server.toml").write_text(shown, encoding="utf-8")
    http = load(tmp_path / "server.toml").http
    assert http is not None
    assert [token.name for token in http.tokens] == ["ci", "guest", "ana", "monitoring"]
