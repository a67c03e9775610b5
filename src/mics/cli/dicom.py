"""`mics dicom`: a finished registration as DICOM objects of the fixed study."""

from pathlib import Path
from typing import Annotated

import typer

from mics.cli.manners import results as show
from mics.cli.output import output_folder
from mics.cli.progress import progress
from mics.dicom_rt.extra import needs_dicom
from mics.errors import SettingError


def dicom(
    results: Annotated[Path, typer.Argument(help="Folder that `mics register` has written.")],
    fixed: Annotated[Path, typer.Argument(help="Folder of the fixed scan's DICOM series, or of its study.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the DICOM files; new or empty.")],
    moving: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the moving scan's series: the deformation is written too, and inputs are checked."
        ),
    ] = None,
    structures: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="RTSTRUCT or SEG of the moving scan, to be warped; by default the label map that was registered along.",
        ),
    ] = None,
    dose: Annotated[Path | None, typer.Option(metavar="FILE", help="RTDOSE of the moving scan, to be warped.")] = None,
    fixed_series: Annotated[
        str | None, typer.Option(metavar="UID", help="The series to take, where FIXED holds several.")
    ] = None,
    moving_series: Annotated[
        str | None, typer.Option(metavar="UID", help="The same of --moving, where that holds several.")
    ] = None,
) -> None:
    """Write the warped scan, structures and dose as DICOM objects of the FIXED study: for research, not for treatment.

    CT, a series of single slices; RTSTRUCT.dcm and SEG.dcm; RTDOSE.dcm; REG.dcm, the deformation.
    """
    if moving_series is not None and moving is None:
        raise SettingError("--moving-series chooses from the folder of --moving: name that folder too.")
    with needs_dicom():
        from mics.dicom_rt.export import export
        from mics.dicom_rt.series import read_series

    with output_folder(output), progress() as step:
        step("Reading")
        target = read_series(fixed, fixed_series)
        source = None if moving is None else read_series(moving, moving_series)
        step("Warping and writing")
        names = export(results, target, output, moving=source, structures=structures, dose=dose)
    show(f"Written to {output}: {', '.join(names)}", {"folder": output, "files": names})
