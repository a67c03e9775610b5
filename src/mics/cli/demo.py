"""`mics demo`: two phantom subjects, scanned differently, registered both ways; needs no file and no network."""

from pathlib import Path
from typing import Annotated

import typer

from mics.cli.manners import results
from mics.cli.one_pair import OURS as REGISTRATION
from mics.cli.one_pair import register_into
from mics.cli.options import Device
from mics.cli.output import Results, output_folder
from mics.cli.progress import progress

_OURS = Results(
    "the results of the demo",
    ("input/*.nii.gz", "result/report.txt", *(f"result/{name}" for name in REGISTRATION.names)),
    lambda folder: REGISTRATION.is_ours(folder / "result"),
)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; new or empty.")] = Path(
        "mics-demo"
    ),
    device: Device = "auto",
) -> None:
    """Register two phantom scans of different subjects, spacing and orientation, and show what comes out."""
    from mics.files.whole import write_text
    from mics.organs import ORGAN_NAMES
    from mics.report.summary_text import describe

    with output_folder(output, _OURS), progress() as step:
        step("Drawing two phantom patients")
        fixed, moving, fixed_labels, moving_labels = _scans(output / "input")
        result, place = register_into(
            output / "result",
            fixed=fixed,
            moving=moving,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
            label_names=ORGAN_NAMES,
            device=device,
            progress=step,
        )
        lines = describe(result.run_summary)
        write_text("\n".join(lines) + "\n", place / "report.txt")
    text = "\n".join([*lines, f"Look at {place / 'report.html'}; the transforms are beside it."])
    results(text, {"folder": place, **result.summary})


def _scans(folder: Path) -> list[Path]:
    """Write two scans, of another orientation, spacing and field of view, and their labels.

    Returns the files: fixed, moving, fixed labels, moving labels.
    """
    from mics.data.phantom import phantom_pair
    from mics.data.phantom.scanner import hospital_scanner
    from mics.image.io import write_image

    pair = phantom_pair(0, hospital_scanner(8, pixels=128), hospital_scanner(3, pixels=128))
    folder.mkdir()
    files = [folder / f"{name}.nii.gz" for name in ("fixed", "moving", "fixed_labels", "moving_labels")]
    for image, file in zip((*(p.image for p in pair), *(p.labels for p in pair)), files, strict=True):
        write_image(image, file)
    return files
