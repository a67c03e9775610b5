"""`mics register`: two scans in, two transforms out."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mics.choices import Lesions, Refine, Topology
from mics.cli.one_pair import register_one
from mics.cli.options import Device, LabelNamesFile, Model
from mics.errors import SettingError

if TYPE_CHECKING:
    from mics.batch.listing import ListedPair
    from mics.registration.inputs import PairArguments


def register(
    context: typer.Context,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the results; new or empty. A batch goes on where it stopped."),
    ],
    fixed: Annotated[
        Path | None,
        typer.Argument(help="Scan to register onto: NIfTI, NRRD, MHA or a folder with one DICOM series."),
    ] = None,
    moving: Annotated[
        Path | None, typer.Argument(help="Scan to bring onto it; any spacing, orientation and field of view.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="In place of FIXED and MOVING, many pairs: a CSV list (see the docs) or a Learn2Reg folder."),
    ] = None,
    moving_folder: Annotated[
        Path | None,
        typer.Option(
            help="In place of MOVING, a folder: each of its scans is brought onto FIXED, a patient or a template."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="For many pairs, processes; by default one a GPU, or on the CPU as many as cores and memory allow.",
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="For many pairs, address of a Dask scheduler, whose workers are used.")
    ] = None,
    fixed_labels: Annotated[
        Path | None, typer.Option(help="Label map of FIXED, on its grid: warped along, and scored.")
    ] = None,
    moving_labels: Annotated[
        Path | None,
        typer.Option(
            help="Label map of MOVING, on its grid; of --moving-folder a folder with files of the same names."
        ),
    ] = None,
    label_names: LabelNamesFile = None,
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
    model: Model = "mics-velocity",
    device: Device = "auto",
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
        typer.Option(
            "--same-patient", help="Two scans of one patient: rigid affine, from rest, stiffer, bones nearly rigid."
        ),
    ] = False,
    fixed_lesions: Annotated[
        Path | None,
        typer.Option(help="Of one patient: label map on FIXED's grid, one id a lesion. They are not compared."),
    ] = None,
    moving_lesions: Annotated[Path | None, typer.Option(help="The same on MOVING's grid, by the same ids.")] = None,
    lesions: Annotated[
        Lesions, typer.Option(help="keep: lesions keep their volume; exclude: the deformation goes through them.")
    ] = "keep",
    repeat: Annotated[
        Path | None,
        typer.Option(
            metavar="SUMMARY",
            help="Register as this summary.json says, all settings of it, and tell whether the result has the same bytes.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="End with exit code 3 where a verdict is look, with 4 where one is failed; by default with 0.",
        ),
    ] = False,
) -> None:
    """Register MOVING and FIXED to each other, both ways, and write volumes, transforms, a summary and a picture.

    Many pairs (--pairs, --moving-folder) get a folder each, a table and a page to look at; exit code 2 if any could not be
    registered.
    """
    given_options = {
        name for name in context.params if getattr(context.get_parameter_source(name), "name", None) == "COMMANDLINE"
    }
    if repeat is not None:
        _refuse_what_the_summary_says(given_options)
    of_one_pair: PairArguments = {
        "fixed_landmarks": fixed_landmarks,
        "moving_landmarks": moving_landmarks,
        "fixed_exclude": fixed_exclude,
        "moving_exclude": moving_exclude,
        "fixed_series": fixed_series,
        "moving_series": moving_series,
        "fixed_lesions": fixed_lesions,
        "moving_lesions": moving_lesions,
    }
    labels = {"fixed_labels": fixed_labels, "moving_labels": moving_labels}
    many = _many(fixed, moving, pairs, moving_folder, labels=labels, of_one_pair=of_one_pair)
    settings: dict[str, Any] = {
        "affine": affine,
        "steps": steps,
        "model": model,
        "device": device,
        "refine": refine,
        "topology": topology,
        "steer": steer,
        "landmark_tolerance_mm": landmark_tolerance_mm,
        "same_patient": same_patient,
        "lesions": lesions,
    }
    if many is not None:
        from mics.cli.batch import register_many

        register_many(
            many, output, label_names=label_names, workers=workers, scheduler=scheduler, strict=strict, **settings
        )
        return
    if workers is not None or scheduler is not None:
        raise SettingError("`workers` and `scheduler` are for many pairs: use `pairs` or `moving_folder`.")
    assert fixed is not None
    assert moving is not None
    given: PairArguments = {
        "fixed_labels": fixed_labels,
        "moving_labels": moving_labels,
        "label_names": label_names,
        **of_one_pair,
    }
    if repeat is not None:
        settings = {"summary": repeat, **{name: settings[name] for name in _OF_REPEAT if name in given_options}}
    register_one(output, fixed=fixed, moving=moving, strict=strict, **given, **settings)


_OF_REPEAT = ("affine", "model")
"""Settings that a summary may know by name alone."""
_SETTINGS = ("steps", "device", "refine", "topology", "steer", "landmark_tolerance_mm", "same_patient", "lesions")
_OF_MANY = ("pairs", "moving_folder", "workers", "scheduler")


def _refuse_what_the_summary_says(given: Collection[str]) -> None:
    """Raise InputError for arguments beside ``repeat`` that the summary holds, or that are for many pairs."""
    if extra := next((name for name in _SETTINGS if name in given), None):
        raise SettingError(f"`repeat` takes all settings from the summary: leave `{extra}` out.", option=extra)
    if extra := next((name for name in _OF_MANY if name in given), None):
        raise SettingError(f"`repeat` is for one pair, FIXED and MOVING: leave `{extra}` out.", option=extra)


def _many(
    fixed: Path | None,
    moving: Path | None,
    pairs: Path | None,
    moving_folder: Path | None,
    *,
    labels: "dict[str, Path | None]",
    of_one_pair: "PairArguments",
) -> "list[ListedPair] | None":
    """The pairs of a batch, None for a single one; raises InputError for arguments that do not go together."""
    if pairs is None and moving_folder is None:
        if fixed is None or moving is None:
            raise SettingError("Give FIXED and MOVING, FIXED and `moving_folder`, or `pairs`; see --help.")
        return None
    if given := next((name for name, value in of_one_pair.items() if value is not None), None):
        raise SettingError(
            f"`{given}` is for one pair: leave it out; a list (`pairs`) has columns for the landmarks and masks of each.",
            option=given,
        )
    from mics.batch.listing import listed_pairs, pairs_of_folder

    if pairs is not None:
        if fixed is not None or moving is not None or moving_folder is not None:
            raise SettingError("`pairs` names both scans of every pair: leave FIXED, MOVING and `moving_folder` out.")
        if any(label_map is not None for label_map in labels.values()):
            raise SettingError("With `pairs`, label maps stand in the list's columns fixed_labels and moving_labels.")
        return listed_pairs(pairs)
    if fixed is None or moving is not None or moving_folder is None:
        raise SettingError("With `moving_folder`, give FIXED alone: every scan of the folder is brought onto it.")
    return pairs_of_folder(fixed, moving_folder, **labels)
