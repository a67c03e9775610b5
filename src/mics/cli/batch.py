"""`mics register` with many pairs: what is printed while they run, and at the end."""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from mics.cli.errors import BAD_INPUT, FAILED, LOOK, print_message
from mics.cli.manners import asked, line, results
from mics.errors import SettingError, counted, some_of

if TYPE_CHECKING:
    from mics.batch.listing import ListedPair
    from mics.batch.table import PairOutcome


def register_many(pairs: "Sequence[ListedPair]", output: Path, *, strict: bool, **settings: Any) -> None:
    """Register all pairs into ``output``; ends the command with the code that :func:`_exit_code` gives."""
    if asked().force:
        raise SettingError(
            "Many pairs go on in their folder and replace nothing: leave `force` out, or give a new folder."
        )
    from mics.batch.register_pairs import RESULTS, register_pairs
    from mics.report.review import PAGE

    console = Console(stderr=True, highlight=False, quiet=asked().quiet)
    began = time.monotonic()
    here = 0

    with console.status(counted(len(pairs), "pair")) as status:

        def report(outcome: "PairOutcome", done: int, of: int) -> None:
            nonlocal here
            here += 1
            left = (of - done) * (time.monotonic() - began) / here
            line(f"{done}/{of} {_line(outcome)}" + (f" (about {_duration(left)} left)" if done < of else ""))
            status.update(f"{done} of {counted(of, 'pair')}, about {_duration(left)} left")
            for message in [] if outcome.summary is None else outcome.summary.warnings:
                print_message(f"Warning: {outcome.pair.name}: {message}")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # told above, with the pair's name, and for each pair
            outcomes = register_pairs(pairs, output, progress=report, **settings)
    if already := len(outcomes) - here:
        line(f"{counted(already, 'pair')} {'was' if already == 1 else 'were'} there already.")
    counts = {word: sum(outcome.verdict == word for outcome in outcomes) for word in ("good", "look", "failed")}
    results(
        ", ".join(f"{word}: {count}" for word, count in counts.items())
        + f"\nLook at {output / PAGE}; all measures are in {output / RESULTS}.",
        {"folder": output, "pairs": [_plain(outcome) for outcome in outcomes]},
    )
    lost = [outcome for outcome in outcomes if outcome.error is not None]
    if lost:
        print_message(
            f"Error: {some_of(len(lost), len(outcomes), 'pair')} could not be registered ({lost[0].pair.name}: {lost[0].error})"
        )
    if code := _exit_code(outcomes, strict=strict):
        raise typer.Exit(code)


def _exit_code(outcomes: "Sequence[PairOutcome]", *, strict: bool) -> int:
    """2 if a pair could not be registered, else, if ``strict``, 4 for a verdict failed and 3 for look; else 0."""
    words = {outcome.verdict for outcome in outcomes}
    if None in words:
        return BAD_INPUT
    return FAILED if strict and "failed" in words else LOOK if strict and "look" in words else 0


def _plain(outcome: "PairOutcome") -> dict[str, Any]:
    return {"pair": outcome.pair.name, "verdict": outcome.verdict, "error": outcome.error}


def _line(outcome: "PairOutcome") -> str:
    from mics.report.summary_text import moving_label_scores

    if outcome.summary is None:
        return f"{outcome.pair.name} could not be registered: {outcome.error}"
    scores = moving_label_scores(outcome.summary)
    mean = None if scores is None else scores.mean_dice
    dice = "" if mean is None else f", mean Dice {mean:.2f}"
    return f"{outcome.pair.name}: {outcome.verdict}{dice}, {outcome.summary.total_seconds:.0f} s"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
