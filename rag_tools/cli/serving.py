"""The commands that connect agents: `serve`, `install` and `uninstall`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rag_tools.cli import options
from rag_tools.cli.options import IndexOption
from rag_tools.cli.output import complain, visible, write
from rag_tools_mcp.install.hosts import HostName, Scope

if TYPE_CHECKING:
    from rag_tools_mcp.install.changes import Change

HostArgument = Annotated[HostName, typer.Argument(help="The program that will start the server.")]
ScopeOption = Annotated[
    Scope,
    typer.Option(
        help="Configure it for you everywhere (user), or for everyone who works in this folder."
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")]


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
            metavar="FILE",
            dir_okay=False,
            help="TOML file with settings; options take precedence over it.",
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
            metavar="DIR",
            file_okay=False,
            help="Allow agents to index files in this folder. Repeatable.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Update the indexes when their files change.")
    ] = False,
    sync_every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Update the indexes at this interval, such as 10m or 1h."
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Serve over HTTP instead of standard input and output."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of server processes for HTTP.", show_default="1"),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Host name that clients may use for the server. Repeatable."
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Web site whose pages may call the server. Repeatable."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with the token that clients must send. Default: $RAG_TOOLS_TOKEN.",
        ),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Record who searched, read and changed what."
        ),
    ] = None,
    log_queries: Annotated[
        bool, typer.Option("--log-queries", help="Include queries in the log.")
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
        raise typer.BadParameter("these options are for HTTP: add --http HOST:PORT")
    given = {
        "collections": options.collections(index or ()),
        "profile": profile,
        "allow_write": [path.absolute() for path in allow_write or ()],
        "watch": watch,
        "sync_every": None if sync_every is None else options.seconds(sync_every),
        "audit": audit and {"file": audit.absolute()},
        "http": over_http,
    }
    from rag_tools_mcp.running import serve as serve_mcp
    from rag_tools_mcp.settings import load

    settings = load(config, {key: value for key, value in given.items() if value})
    if settings.http is None and sys.stdin.isatty():
        complain("waiting for an MCP client on standard input; press Ctrl-C to stop")
    serve_mcp(settings)


def install(
    host: HostArgument,
    index: IndexOption = None,
    scope: ScopeOption = "user",
    only_print: Annotated[
        bool,
        typer.Option(
            "--print", help="Print the text to add to the configuration, and change nothing."
        ),
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


def uninstall(host: HostArgument, scope: ScopeOption = "user", yes: YesOption = False) -> None:
    """Remove the server from a host's configuration. Shows the change and asks first."""
    from rag_tools_mcp.install import hosts

    _make(hosts.uninstall(host, scope), yes)


def _make(change: Change, sure: bool) -> None:
    """Show a change to a user's file, ask for confirmation unless `sure`, and make the change."""
    if change.empty:
        write(visible(f"Nothing to do: {change.file}\n"))
        return
    write(visible(change.diff()))
    if not sure:
        typer.confirm("Change the file?", abort=True)
    change.write()
    kept = "" if change.before is None else f"; the original is {change.backup}"
    write(visible(f"Changed {change.file}{kept}\n"))
