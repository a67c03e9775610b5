"""`mics register`: two scans in, two transforms out."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mics.cli.errors import FAILED, LOOK
from mics.cli.output import output_folder
from mics.cli.progress import progress


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
        str, typer.Option(help="ants (computed), none, or a FILE of ITK or ANTs: .tfm, .txt, .mat, .h5.")
    ] = "ants",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the network; by default as the model's card says.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Name of a shipped model (see `mics info`) or path of a trained one.")
    ] = "mics-velocity",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.")] = "auto",
    refine: Annotated[
        str, typer.Option(help="Work spent on improving the prediction on this pair: none, fast or accurate.")
    ] = "fast",
    topology: Annotated[
        str,
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
    steer: Annotated[
        list[str],
        typer.Option(
            metavar="WHAT",
            help="labels, landmarks, or a label by its number or name: the refinement follows it. Repeat for several.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    landmark_tolerance_mm: Annotated[
        float | None,
        typer.Option(
            "--landmark-tolerance",
            metavar="MM",
            help="Bring landmarks that steer as near as this, where nothing folds.",
        ),
    ] = None,
    same_patient: Annotated[
        bool,
        typer.Option("--same-patient", help="Two scans of one patient: rigid affine, stiffer, bones nearly rigid."),
    ] = False,
    fixed_lesions: Annotated[
        Path | None,
        typer.Option(help="Of one patient: label map on FIXED's grid, one id a lesion. They are not compared."),
    ] = None,
    moving_lesions: Annotated[Path | None, typer.Option(help="The same on MOVING's grid, by the same ids.")] = None,
    lesions: Annotated[
        str, typer.Option(help="keep: lesions keep their volume; exclude: the deformation goes through them.")
    ] = "keep",
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
        "steer": steer,
        "landmark_tolerance_mm": landmark_tolerance_mm,
        "same_patient": same_patient,
        "fixed_lesions": fixed_lesions,
        "moving_lesions": moving_lesions,
        "lesions": lesions,
    }
    from mics.report.summary import describe

    with output_folder(output), progress() as step:
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
    typer.echo("\n".join([*describe(summary), f"Written to {place}"]))
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
