"""The command `mics`."""

import atexit
import gc
import io
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from mics.allocator import keep_freed_memory
from mics.cli.compare import compare
from mics.cli.convert import convert
from mics.cli.demo import demo
from mics.cli.dicom import dicom
from mics.cli.errors import Commands
from mics.cli.evaluate import evaluate
from mics.cli.experiment import experiment
from mics.cli.info import info
from mics.cli.manners import with_manners
from mics.cli.pipeline import pipeline
from mics.cli.prepare import prepare
from mics.cli.propagate import propagate
from mics.cli.pseudo_labels import pseudo_labels
from mics.cli.register import register
from mics.cli.submit import submit
from mics.cli.synthesise import synthesise
from mics.cli.template import template
from mics.cli.train import train
from mics.cli.warp import warp

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
SAYING = ("quiet", "verbose")
COMMANDS: dict[Callable[..., None], tuple[str, ...]] = {
    register: (*SAYING, "as_json", "threads", "force"),
    warp: (*SAYING, "threads"),
    convert: SAYING,
    dicom: (*SAYING, "as_json", "threads"),
    evaluate: (*SAYING, "as_json", "threads", "force"),
    compare: (*SAYING, "as_json", "threads"),
    submit: (*SAYING, "threads"),
    experiment: (*SAYING, "threads"),
    info: ("as_json",),
    demo: (*SAYING, "as_json", "threads", "force"),
    propagate: (*SAYING, "as_json", "threads"),
    template: (*SAYING, "as_json", "threads"),
    prepare: (*SAYING, "as_json"),
    synthesise: (*SAYING, "as_json", "threads"),
    pseudo_labels: (*SAYING, "as_json", "threads"),
    train: (*SAYING, "as_json", "threads"),
    pipeline: (*SAYING, "as_json", "threads"),
}
"""All commands, each with those of the common options that make sense for it."""
for command, common_options in COMMANDS.items():
    app.command()(with_manners(command, common_options))


def _print_version(wanted: bool) -> None:
    if wanted:
        from mics import __version__

        typer.echo(f"mics {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Deformable registration of abdominal CT, both ways. Research software, not a medical device."""


def main() -> None:
    """Entry point of the installed command."""
    # A terminal that knows ASCII alone gets a question mark for what it cannot show.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    keep_freed_memory()
    # Before it ends, the interpreter would look for garbage among all that the libraries hold, for half a second.
    atexit.register(gc.freeze)
    app(prog_name="mics")
