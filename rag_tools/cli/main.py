"""The `rag-tools` command: arguments, exit codes, and which engine call answers.

Everything heavy is imported inside the command that needs it, so that `--help` is instant.
Exit codes: 0 done, 1 it failed or a citation doesn't hold, 2 wrong usage, 3 something was
skipped, 130 interrupted.
"""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from rag_tools import __version__
from rag_tools.cli import options
from rag_tools.cli.evaluate import evaluate
from rag_tools.cli.output import complain, console, replace_unprintable, write, write_json
from rag_tools.cli.train import average, export, mine, train, train_evidence
from rag_tools.errors import InvalidQueryError, RagToolsError
from rag_tools_mcp.install.hosts import HostName, Scope

if TYPE_CHECKING:
    from rag_tools.engine import Engine
    from rag_tools_mcp.install.changes import Change

EXIT_FAILED = 1
EXIT_SKIPPED = 3
EXIT_INTERRUPTED = 130


class _Commands(TyperGroup):
    """Turns what goes wrong in a command into one line on standard error and an exit code.

    And shows help without the type of flags: that they are <bool> says nothing to who reads it.
    """

    def get_params(self, ctx: Any) -> Any:  # noqa: ANN401 - click's signature
        return _without_types(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - click's signature
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_types(command.get_params(ctx))
        return command

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's signature
        try:
            return super().invoke(ctx)
        except RagToolsError as error:
            complain(str(error))
            raise typer.Exit(EXIT_FAILED) from None
        except KeyboardInterrupt:
            complain("interrupted")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:  # whoever reads has enough: click ends the program
            raise
        except OSError as error:  # such as a full disk under what we print
            from rag_tools.disk import described

            complain(described(error))
            _forget_output()
            raise typer.Exit(EXIT_FAILED) from None


def _without_types(parameters: list[Any]) -> list[Any]:
    """Return parameters of a command, the flags among them with nothing to be shown as a value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


def _forget_output() -> None:
    """Drop what can't be written, which Python would try, and complain about, once more."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(null, sys.stdout.fileno())
    finally:
        os.close(null)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,  # two more options in every help, for what few ask for
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        file_okay=False,
        readable=False,  # opening it says why it can't be read, and what to do
        help="Directory of the index. Default: $RAG_TOOLS_INDEX, else ./.rag-tools.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="FIELD=VALUE",
        help="Only documents whose metadata has this value; `path` takes a glob. Repeatable.",
    ),
]
HostArgument = Annotated[HostName, typer.Argument(help="The program that starts the server.")]
ScopeOption = Annotated[
    Scope, typer.Option(help="For you everywhere, or for whoever works in this folder.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Add which query word matched which document word.")
]
QualityOption = Annotated[
    options.Quality,
    typer.Option(help="How thorough: exact looks at every passage, however many there are."),
]


def _version(asked: bool) -> None:
    if asked:
        write(f"rag-tools {__version__}\n")
        raise typer.Exit


@app.callback()
def rag_tools(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Search your documents and get citations that can be checked."""


@app.command()
def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            exists=True,
            readable=False,  # what can't be read is reported and skipped, as inside a folder
            help="Files and folders to index. Default: those indexed before.",
            show_default=False,
        ),
    ] = None,
    index: IndexOption = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Index only files that match. Repeatable."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave out files that match. Repeatable."),
    ] = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Include hidden files.")] = False,
    no_gitignore: Annotated[
        bool, typer.Option("--no-gitignore", help="Include files that git ignores.")
    ] = False,
    max_file_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Skip files larger than this.")
    ] = "64MiB",
    document_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Skip documents that can't be parsed in this time."),
    ] = 60.0,
    url_template: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Form of the links in citations, such as https://docs.example.com/{relative_path}"
            "#L{first_line}. Stored with the index; an empty value removes it.",
        ),
    ] = None,
    passage_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens per passage, for a new index.", show_default=False),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help="Bits per dimension, for a new index: 4, 2 or 1. Default: 4.", show_default=False
        ),
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option(
            help="Dimensions per token, for a new index. Default: all.", show_default=False
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Directory or Hugging Face name of a ColBERT checkpoint, for a new index. "
            "Default: the bundled one."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bring the index up to date with files and folders.

    Unchanged files cost nothing. Files that can't be read are skipped, and the exit code is 3.
    """
    max_bytes = options.size(max_file_size)
    from rag_tools.cli import show
    from rag_tools.engine import Engine

    try:
        with (
            Engine.open(
                index,
                checkpoint=checkpoint,
                create=bool(paths),
                passage_tokens=passage_tokens,
                bits=bits,
                dim=dim,
            ) as engine,
            show.progress() as progress,
        ):
            report = engine.sync(
                paths or (),
                include=include or (),
                exclude=exclude or (),
                hidden=hidden,
                gitignore=not no_gitignore,
                max_bytes=max_bytes,
                document_timeout=document_timeout,
                url_template=url_template,
                progress=progress,
            )
    except KeyboardInterrupt:
        complain("interrupted; what was committed stays. Run the command again to resume")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if json:
        write_json(report)
    else:
        show.sync_report(report, console())
    if report.skipped:
        raise typer.Exit(EXIT_SKIPPED)


@app.command()
def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Words or a question.")],
    index: IndexOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of passages to return.")] = 10,
    filter: FilterOption = None,
    explain: ExplainOption = False,
    quality: QualityOption = "balanced",
    json: JsonOption = False,
) -> None:
    """Find passages, each with the quotes that answer the query."""
    wanted = options.filters(filter or ())
    with _engine(index) as engine:
        found = engine.search(
            query, limit=limit, filter=wanted or None, explain=explain, quality=quality
        )
    if json:
        write_json(found)
    else:
        from rag_tools.cli import show

        show.search_results(found, console())


@app.command()
def explain(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Words or a question.")],
    index: IndexOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of passages to explain.")] = 3,
    filter: FilterOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Write a page for a browser instead of printing."
        ),
    ] = None,
) -> None:
    """Show why passages were found: which words match the query words, and how well."""
    wanted = options.filters(filter or ())
    with _engine(index) as engine:
        found = engine.search(query, limit=limit, filter=wanted or None, explain=True)
    if out is None:
        from rag_tools.cli import show

        show.explanation(found, console())
        return
    from rag_tools.cite import heatmap

    page = heatmap.page(query, heatmap.hits(query, found.results))
    try:
        out.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise typer.BadParameter(f"can't write {out}: {error.strerror}") from None
    complain(f"written to {out}")


@app.command()
def cite(
    claim: Annotated[
        str | None,
        typer.Argument(
            metavar="[CLAIM]", help="A statement for which to find support.", show_default=False
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-", help="A draft answer in Markdown; its statements are cited."
        ),
    ] = None,
    index: IndexOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of quotes to return for a claim.")] = 8,
    filter: FilterOption = None,
    explain: ExplainOption = False,
    quality: QualityOption = "balanced",
    json: JsonOption = False,
) -> None:
    """Report how far the documents support a claim or a whole answer, and quote them.

    With --answer the exit code is 1 if a statement is unsupported.
    """
    if (claim is None) == (answer is None):
        raise typer.BadParameter("give either a CLAIM or --answer FILE")
    wanted = options.filters(filter or ()) or None
    with _engine(index) as engine:
        if answer is not None:
            cited = engine.cite_answer(_read(answer), filter=wanted, quality=quality)
        else:
            assert claim is not None
            found = engine.cite(claim, limit=limit, filter=wanted, explain=explain, quality=quality)
    if json:
        write_json(found if answer is None else cited)
    else:
        from rag_tools.cli import show

        if answer is None:
            show.support(found, console())
        else:
            show.cited_answer(cited)
    if answer is not None and any(c.support.verdict == "unsupported" for c in cited.claims):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def fetch(
    id: Annotated[
        str, typer.Argument(metavar="DOCUMENT_ID", help="Id of a document or of a passage.")
    ],
    index: IndexOption = None,
    start: Annotated[int, typer.Option(min=0, help="First character.")] = 0,
    end: Annotated[
        int | None,
        typer.Option(min=0, help="Character to stop before. Default: the end."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the canonical text of a document, or its characters from START to END."""
    from rag_tools.cli.output import visible

    with _engine(index) as engine:
        document = engine.fetch(id, start=start, end=end)
    if json:
        write_json(document)
    else:
        # A file gets the text as it is; a terminal must not be driven by it.
        write(visible(document.text) + "\n" if sys.stdout.isatty() else document.text)


@app.command()
def verify(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-",
            help="Citations as JSON or JSON lines: one, a list, or the output of search or cite.",
        ),
    ],
    answer: Annotated[
        bool,
        typer.Option("--answer", help="FILE is an agent's answer: check its quotations."),
    ] = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Check that quotes are still in their sources, where the citations say.

    The exit code is 0 if every citation is exact or moved, else 1.
    """
    from rag_tools.cite.verify import parse_citations

    text = _read(file)
    citations = () if answer else parse_citations(_parsed(text, file))
    from rag_tools.types import Verifications

    with _engine(index) as engine:
        found = (
            engine.verify_answer(text)
            if answer
            else Verifications(verifications=tuple(engine.verify(c) for c in citations))
        )
    if json:
        write_json(found)
    else:
        from rag_tools.cli import show

        show.verifications(found.verifications, console())
    if any(v.status in ("stale", "missing") for v in found.verifications):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def status(
    index: IndexOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="First read every file and compare its checksums.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Report what the index contains and how it was built."""
    with _engine(index) as engine:
        if check:
            engine.check()
        found = engine.status()
    if json:
        write_json(found)
    else:
        from rag_tools.cli import show

        show.status(found, console())


@app.command()
def serve(
    index: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]DIR",
            help="Directory of an index; repeatable with names. Default: $RAG_TOOLS_INDEX, else "
            "./.rag-tools.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="TOML file with the settings; options override it."
        ),
    ] = None,
    profile: Annotated[
        Literal["full", "openai"] | None,
        typer.Option(
            help="full (the default) offers every tool; openai offers search and fetch as ChatGPT "
            "uses them.",
            show_default=False,
        ),
    ] = None,
    allow_write: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", file_okay=False, help="Let agents index this folder. Repeatable."
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Serve over HTTP instead of standard input."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes that serve over HTTP.", show_default="1"),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A host name by which clients reach the server. Repeatable."
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A web site whose pages may call the server. Repeatable."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with the token that callers must send. Default: $RAG_TOOLS_TOKEN.",
        ),
    ] = None,
    log_queries: Annotated[
        bool, typer.Option("--log-queries", help="Write queries to the log.")
    ] = False,
) -> None:
    """Serve indexes to agents: MCP over standard input and output, or over HTTP."""
    over_http = {
        "address": http,
        "workers": workers,
        "allowed_hosts": allow_host,
        "allowed_origins": allow_origin,
        "tokens": token_file and [options.token(token_file)],
        "log_queries": log_queries or None,
    }
    over_http = {key: value for key, value in over_http.items() if value is not None}
    if over_http and http is None and config is None:
        raise typer.BadParameter("these options need --http HOST:PORT as well")
    given = {
        "collections": options.collections(index or ()),
        "profile": profile,
        "allow_write": [path.absolute() for path in allow_write or ()],
        "http": over_http,
    }
    from rag_tools_mcp.running import serve as serve_mcp
    from rag_tools_mcp.settings import load

    settings = load(config, {key: value for key, value in given.items() if value})
    if settings.http is None and sys.stdin.isatty():
        complain("waiting for an MCP client on standard input; press Ctrl-C to stop")
    serve_mcp(settings)


@app.command()
def install(
    host: HostArgument,
    index: IndexOption = None,
    scope: ScopeOption = "user",
    only_print: Annotated[
        bool, typer.Option("--print", help="Print what to add to the file, and change nothing.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Configure a host program to start the server. Shows the change and asks first."""
    from rag_tools.creation import default_directory
    from rag_tools_mcp.install import hosts
    from rag_tools_mcp.install.program import typed

    directory = (index or default_directory()).absolute()
    command = hosts.launch(directory)
    if only_print:
        write(hosts.snippet(host, command).text + "\n")
        return
    if not directory.exists():
        make_it = typed("index", "PATH", "--index", str(directory))
        complain(f"there is no index yet; create it with: {make_it}")
    _make(hosts.install(host, scope, command), yes)


@app.command()
def uninstall(host: HostArgument, scope: ScopeOption = "user", yes: YesOption = False) -> None:
    """Remove the server from a host's configuration. Shows the change and asks first."""
    from rag_tools_mcp.install import hosts

    _make(hosts.uninstall(host, scope), yes)


@app.command()
def demo(
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Folder to index. Default: the sample documents of the package.",
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Keep the index in this directory."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Index ten times as much, which needs a clone."),
    ] = False,
) -> None:
    """Index sample documents, ask, cite and verify; then do the same as an agent over MCP."""
    from rag_tools.cli.demo import run

    run(corpus, index, full=full)


app.command("eval")(evaluate)
app.command()(train)
app.command()(train_evidence)
app.command()(mine)
app.command()(average)
app.command()(export)


def _engine(index: Path | None) -> Engine:
    from rag_tools.engine import Engine

    return Engine.open(index)


def _make(change: Change, sure: bool) -> None:
    """Show a change to a user's file, ask unless `sure`, and make it."""
    from rag_tools.cli.output import visible

    if change.empty:
        write(visible(f"Nothing to do: {change.file}\n"))
        return
    write(visible(change.diff()))
    if not sure:
        typer.confirm("Change the file?", abort=True)
    change.write()
    kept = "" if change.before is None else f"; the original is {change.backup}"
    write(visible(f"Changed {change.file}{kept}\n"))


def _read(file: str) -> str:
    """Return the text in `file`, or on standard input.

    Raises
    ------
    InvalidQueryError
        It can't be read.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        # What PowerShell 5 writes to a file with > has a byte order mark of UTF-16.
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if marked else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidQueryError(f"can't read {file}: {error}") from None


def _parsed(text: str, file: str) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """Return what the JSON document, or the lines of JSON, in `file` hold.

    Raises
    ------
    InvalidQueryError
        It is neither.
    """
    from json import loads

    try:
        return loads(text)
    except (ValueError, RecursionError) as error:
        failure = f"{file} doesn't hold JSON: {error}"
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                records.append(loads(line))
            except (ValueError, RecursionError) as error:
                # Had the first line stood on its own, these would be JSON lines.
                message = f"line {number} of {file} isn't JSON: {error}" if records else failure
                raise InvalidQueryError(message) from None
    if not records:
        raise InvalidQueryError(failure)
    return records


def main() -> None:
    """Run the command line."""
    replace_unprintable()
    app()


if __name__ == "__main__":
    main()
