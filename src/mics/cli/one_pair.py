"""`mics register` with one pair: registered, or repeated, written into a folder, and reported."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mics.cli.errors import FAILED, LOOK, print_message
from mics.cli.manners import results
from mics.cli.output import Results, output_folder
from mics.cli.progress import progress
from mics.errors import SettingError
from mics.report.files import RESULT_FILES

if TYPE_CHECKING:
    from mics.registration.result import Registration


def _is_registration(folder: Path) -> bool:
    from mics.errors import InputError
    from mics.run_summary import read_summary

    try:
        read_summary(folder / "summary.json")
    except InputError:
        return False
    return True


OURS = Results(
    "the results of a registration",
    RESULT_FILES,
    _is_registration,
)


def register_one(
    output: Path, *, fixed: Path, moving: Path, strict: bool, summary: Path | None = None, **settings: Any
) -> None:
    """Register two files into ``output``; with ``strict``, end the command with the verdict's exit code.

    ``settings``: as of :func:`mics.register`, or with a ``summary`` that is repeated, of :func:`mics.registration.repeat.repeat`.
    """
    from mics.report.summary_text import describe

    if summary is not None:
        settings["summary"] = summary
        if output.resolve() == summary.resolve().parent:
            raise SettingError(f"{output} holds the summary that is repeated: give another folder.", option="output")
    with output_folder(output, OURS), progress() as step:
        result, place = register_into(output, fixed=fixed, moving=moving, progress=step, **settings)
    lines, data = [*describe(result.run_summary), f"Written to {place}"], {"folder": place, **result.summary}
    if summary is not None:
        message, data["repeated"] = _compared(summary.parent, place)
        lines.append(message)
    results("\n".join(lines), data)
    if summary is not None and data["repeated"]["other_bytes"]:
        print_message(f"Warning: {message}")
    if strict:
        raise typer.Exit({"good": 0, "look": LOOK, "failed": FAILED}[result.verdict.word])


def register_into(
    folder: Path, *, fixed: Path, moving: Path, progress: Callable[[str], None], **settings: Any
) -> "tuple[Registration, Path]":
    """Register two files, write everything into ``folder``, and return the registration and where it is.

    ``settings``: as of :func:`mics.register`; with a ``summary`` among them, as of :func:`mics.registration.repeat.repeat`.
    """
    from mics.files.folder import free_folder
    from mics.registration.register import register as run
    from mics.registration.repeat import repeat
    from mics.report.files import pictures

    work = repeat if "summary" in settings else run
    result = work(fixed=fixed, moving=moving, progress=progress, **settings)
    progress("Writing")

    # Whatever has come into the folder meanwhile, the work is not thrown away.
    place = free_folder(folder)
    # Loading matplotlib and drawing take one core, while others compress files.
    result.save(place, beside=pictures(result))
    return result, place


def _compared(earlier: Path, folder: Path) -> tuple[str, dict[str, list[str]]]:
    """Whether the volumes and transforms are those of before, in a sentence, and which are."""
    from mics.registration.repeat import compared_files

    same, other = compared_files(earlier, folder)
    if other:
        message = f"Not the same bytes as in {earlier}: {', '.join(other)}."
    elif same:
        message = f"The same bytes as in {earlier}: {', '.join(same)}."
    else:
        message = f"Beside the summary in {earlier} lie no volumes and transforms to compare with."
    return message, {"same_bytes": same, "other_bytes": other}
