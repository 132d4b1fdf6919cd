"""The `rag-tools` command: the list of its commands, and what all of them do about errors.

The commands are functions in the modules beside this one, divided by subject. They import
everything heavy when they run, so that `--help` is instant. The exit codes are in `exits`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rag_tools import __version__
from rag_tools.cli import exits
from rag_tools.cli.citing import cite, verify
from rag_tools.cli.evaluate import evaluate
from rag_tools.cli.governing import audit, expire, hold, purge, release
from rag_tools.cli.indexing import index, status
from rag_tools.cli.maintaining import (
    backup,
    check,
    compact,
    export_index,
    import_index,
    quota,
    repair,
    restore,
    vacuum,
)
from rag_tools.cli.output import complain, replace_unprintable, write
from rag_tools.cli.searching import explain, fetch, search
from rag_tools.cli.serving import install, serve, uninstall
from rag_tools.cli.train import average, export, mine, train, train_evidence
from rag_tools.cli.versioning import versions
from rag_tools.cli.watching import watch
from rag_tools.errors import RagToolsError


class _Commands(TyperGroup):
    """Reports an error of any command as one line on standard error and an exit code.

    It also leaves the type of flags out of the help: ``<bool>`` tells a reader nothing.
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
            raise typer.Exit(exits.FAILED) from None
        except KeyboardInterrupt:
            complain("interrupted")
            raise typer.Exit(exits.INTERRUPTED) from None
        except BrokenPipeError:  # the reader has closed the pipe: click ends the program
            raise
        except OSError as error:  # such as a full disk under the file that we print to
            from rag_tools.disk import described

            complain(described(error))
            _forget_output()
            raise typer.Exit(exits.FAILED) from None


def _without_types(parameters: list[Any]) -> list[Any]:
    """Return the parameters of a command; help shows no value for the flags among them."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


def _forget_output() -> None:
    """Discard the output that can't be written: Python would try again and complain at exit."""
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
    add_completion=False,  # would add two options to every help, which few people need
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


def demo(
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Folder to index. Default: the sample documents in the package.",
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Keep the index in this directory."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Index ten times as many documents; needs a clone."),
    ] = False,
) -> None:
    """Index sample documents, search, cite and verify; then do the same as an agent over MCP."""
    from rag_tools.cli.demo import run

    run(corpus, index, full=full)


# In the order in which --help lists them.
app.command()(index)
app.command()(search)
app.command()(explain)
app.command()(cite)
app.command()(fetch)
app.command()(versions)
app.command()(verify)
app.command()(watch)
app.command()(status)
app.command()(check)
app.command()(repair)
app.command()(backup)
app.command()(restore)
app.command()(compact)
app.command()(vacuum)
app.command()(quota)
app.command()(export_index)
app.command()(import_index)
app.command()(hold)
app.command()(release)
app.command()(expire)
app.command()(purge)
app.command()(audit)
app.command()(serve)
app.command()(install)
app.command()(uninstall)
app.command()(demo)
app.command("eval")(evaluate)
app.command()(train)
app.command()(train_evidence)
app.command()(mine)
app.command()(average)
app.command()(export)


def main() -> None:
    """Run the command line."""
    replace_unprintable()
    app()


if __name__ == "__main__":
    main()
