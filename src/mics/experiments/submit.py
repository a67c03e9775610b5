"""A submission to the Learn2Reg challenge: its pairs registered, each displacement written, all of them packed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mics.choices import SubmissionNames, SubmittedPairs
from mics.data.pairs import PairSource, read_pairs
from mics.data.state import state_of
from mics.errors import InputError, RunError, SettingError
from mics.evaluation.export import pack
from mics.evaluation.learn2reg import displacement_name, from_transform, write_displacement
from mics.files.folder import own_folder
from mics.files.whole import write_text, write_whole
from mics.network.weights import DEFAULT_REGISTRATION, load_model_for
from mics.registration.register import register

NOTE, DISPLACEMENTS, PACKED = "submission.json", "displacements", "submission.zip"


def submit(
    data: str | Path,
    output: str | Path,
    *,
    pairs: SubmittedPairs = "test",
    names: SubmissionNames = "current",
    progress: Callable[[str], None] = lambda _: None,
    **settings: Any,
) -> Path:
    """Register the challenge's pairs and write ``output/submission.zip``; returns its path.

    - ``data``: a Learn2Reg folder of either release, for ``test`` with its test subjects (``imagesTs`` or ``Testing/img``): the
      39 test pairs of today's or the 55 of 2020. ``validation`` takes its validation pairs.
    - ``names``: file names of the challenge's current script, or of that of 2020.
    - ``settings``: ``model``, ``affine``, ``refine``, ``steps``, ``topology`` and ``device`` of :func:`mics.register`.

    ``output/displacements`` keeps every finished pair, so that what is interrupted goes on. Raises InputError for data without
    such pairs, and for a folder that holds something else, other settings, or into which another run writes.
    """
    if pairs not in ("test", "validation"):
        raise SettingError(f"`pairs={pairs!r}` is unknown; give test or validation.", option="pairs")
    if names not in ("current", "2020"):
        raise SettingError(f"`names={names!r}` is unknown; give current or 2020.", option="names")
    if not Path(data).is_dir():
        raise InputError(f"{data} is no folder: give a Learn2Reg AbdomenCTCT folder.")
    listed = read_pairs(data, which=pairs)
    settings = {"model": DEFAULT_REGISTRATION, **settings}
    with own_folder(output, NOTE, "a submission") as folder:
        _pin_inputs(folder, listed, {**settings, "pairs": pairs, "names": names})
        displacements = folder / DISPLACEMENTS
        displacements.mkdir(exist_ok=True)
        wanted = {displacement_name(pair.fixed.name, pair.moving.name, script=names): pair for pair in listed}
        waiting = {name: pair for name, pair in wanted.items() if not (displacements / name).is_file()}
        for number, (name, pair) in enumerate(waiting.items(), start=1):
            progress(f"{number} of {len(waiting)}: {pair.name}")
            fixed, moving = pair.fixed.image(), pair.moving.image()
            result = register(fixed, moving, **settings)
            write_displacement(from_transform(result.moving_to_fixed, moving.grid), displacements / name)
        progress("packing")
        write_whole(folder / PACKED, lambda temporary: pack([displacements / name for name in wanted], temporary))
        return folder / PACKED


def _pin_inputs(folder: Path, pairs: list[PairSource], settings: dict[str, Any]) -> None:
    """Note what the folder's displacements are made of and with; raises RunError if it holds others."""
    files = {
        str(file): state_of(file) for pair in pairs for one in (pair.fixed, pair.moving) for file in one.files.values()
    }
    model = load_model_for("registration", settings["model"]).sha256
    own = {**settings, "model": model, "names_of_pairs": [pair.name for pair in pairs], "files": files}
    text = json.dumps(own, indent=1, default=str) + "\n"
    note = folder / NOTE
    if not note.exists():
        write_text(text, note)
    elif note.read_text(encoding="utf-8") != text:
        raise RunError(
            f"{folder} holds a submission of other settings, another model or other scans, or of these before they changed; "
            "give another folder."
        )
