"""`mics register`: two scans in, two transforms out."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mics.cli.errors import FAILED, LOOK
from mics.cli.manners import results
from mics.cli.output import Results, output_folder
from mics.cli.progress import progress
from mics.registration.choices import Refine, Topology


def _is_registration(folder: Path) -> bool:
    from mics.errors import InputError
    from mics.registration.run_summary import read_summary

    try:
        read_summary(folder / "summary.json")
    except InputError:
        return False
    return True


OURS = Results(
    "the results of a registration",
    ("summary.json", "*_warped.nii.gz", "transform_*.nii.gz", "transform_*.nii.gz.json", "overview.png", "report.html"),
    _is_registration,
)


def register(
    fixed: Annotated[
        Path, typer.Argument(help="Scan to register onto: NIfTI, NRRD, MHA or a folder with one DICOM series.")
    ],
    moving: Annotated[Path, typer.Argument(help="Scan to bring onto it; any spacing, orientation and field of view.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; new or empty.")],
    fixed_labels: Annotated[
        Path | None, typer.Option(help="Label map of FIXED, on its grid: warped along, and scored.")
    ] = None,
    moving_labels: Annotated[Path | None, typer.Option(help="Label map of MOVING, on its grid.")] = None,
    label_names: Annotated[
        Path | None,
        typer.Option(help="What the labels mean: JSON, CSV, ITK-SNAP or a label map that holds names; see the docs."),
    ] = None,
    fixed_landmarks: Annotated[
        Path | None, typer.Option(help="Landmarks of FIXED (.csv, .fcsv, .mrk.json): their error is measured.")
    ] = None,
    moving_landmarks: Annotated[Path | None, typer.Option(help="The same points on MOVING, in the same order.")] = None,
    affine: Annotated[
        str,
        typer.Option(help="organs (by what is found in both), ants (by ANTs), none, or a FILE: .tfm, .txt, .mat, .h5."),
    ] = "organs",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the network; by default as the model's card says.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Name of a shipped model (see `mics info`) or path of a trained one.")
    ] = "mics-velocity",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.")] = "auto",
    refine: Annotated[Refine, typer.Option(help="Work spent on improving the prediction on this pair.")] = "fast",
    topology: Annotated[
        Topology,
        typer.Option(
            help="free: the transforms as they come; preserve: changed as little as makes them free of folds."
        ),
    ] = "free",
    fixed_exclude: Annotated[
        Path | None,
        typer.Option(help="Mask on FIXED's grid of what MOVING lacks (lesion, resection): the refinement skips it."),
    ] = None,
    moving_exclude: Annotated[Path | None, typer.Option(help="The same on MOVING's grid.")] = None,
    fixed_series: Annotated[
        str | None, typer.Option(metavar="UID", help="The series to take, where FIXED is a DICOM folder of several.")
    ] = None,
    moving_series: Annotated[str | None, typer.Option(metavar="UID", help="The same of MOVING.")] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="End with exit code 3 where the verdict is look, with 4 where it is failed."),
    ] = False,
) -> None:
    """Register MOVING and FIXED to each other, both ways, and write volumes, transforms, a summary and a picture."""
    settings = {
        "affine": affine,
        "steps": steps,
        "model": model,
        "device": device,
        "refine": refine,
        "topology": topology,
    }
    from mics.report.summary import describe

    with output_folder(output, OURS), progress() as step:
        summary, place = register_into(
            output,
            fixed=fixed,
            moving=moving,
            fixed_labels=fixed_labels,
            moving_labels=moving_labels,
            label_names=label_names,
            fixed_landmarks=fixed_landmarks,
            moving_landmarks=moving_landmarks,
            fixed_exclude=fixed_exclude,
            moving_exclude=moving_exclude,
            fixed_series=fixed_series,
            moving_series=moving_series,
            progress=step,
            **settings,
        )
    results("\n".join([*describe(summary), f"Written to {place}"]), {"folder": place, **summary})
    if strict:
        raise typer.Exit({"good": 0, "look": LOOK, "failed": FAILED}[summary["verdict"]["word"]])


def register_into(
    folder: Path, *, fixed: Path, moving: Path, progress: Callable[[str], None], **settings: Any
) -> tuple[dict[str, Any], Path]:
    """Register two files, write everything into ``folder``, and return the summary and where it is."""
    from mics.files.folder import free_folder
    from mics.registration.pipeline import register as run

    result = run(fixed=fixed, moving=moving, progress=progress, **settings)
    progress("Writing")

    def draw(path: Path) -> None:
        from mics.report.figures import overview

        overview(result, path)

    def page(path: Path) -> None:
        from mics.report.page import write_report

        write_report(result, path)

    # Whatever has come into the folder meanwhile, the work is not thrown away.
    place = free_folder(folder)
    # Loading matplotlib and drawing take one core, about as long as a transform takes to be compressed by another.
    result.save(place, beside={"overview.png": draw, "report.html": page})
    return result.summary, place
