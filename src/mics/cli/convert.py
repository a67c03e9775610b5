"""`mics convert`: a transform from and for another tool, or as maps; structures of DICOM as a label map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mics.errors import GeometryError, RunError, SettingError


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A transform of MICS, ITK, ANTs, greedy, Slicer, transformix (.txt) or nitransforms (.x5), or an RTSTRUCT or "
            "SEG of DICOM.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write. Of a transform .nii.gz, .nrrd, .mha, .h5, .tfm (ITK, ANTs, greedy, Slicer), .txt (transformix) "
            "or .x5 (nitransforms); of structures a label map: .seg.nrrd keeps the names.",
        ),
    ] = None,
    jacobian: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Volume of the transform's Jacobian determinants to write.")
    ] = None,
    norm: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Volume of the displacements' lengths, in mm, to write.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Image on whose grid the transform is written; by default its own. Needed for an affine and for B-splines."
        ),
    ] = None,
    scan: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="DICOM series on which the structures were drawn, where it does not lie beside them."
        ),
    ] = None,
) -> None:
    """Write a transform of any tool for another one, maps of what it does, or the structures of a DICOM file as a label map."""
    from mics.dicom_rt.extra import is_structures
    from mics.image.checks import refuse_unreadable_name

    refuse_unreadable_name(source)
    if is_structures(source):
        _convert_structures(source, output, [jacobian, norm, reference], scan)
    elif scan is not None:
        raise SettingError(f"--scan is for structures of DICOM, and {source} is none: leave it out.")
    else:
        _convert_transform(source, output, jacobian, norm, reference)


def _convert_structures(source: Path, output: Path | None, others: list[Path | None], scan: Path | None) -> None:
    from mics.dicom_rt.extra import structures_in
    from mics.dicom_rt.structure_file import write_label_map
    from mics.image.io import written_suffix

    if output is None or any(others):
        raise SettingError(f"{source} holds structures: name the label map to write by --output, and nothing else.")
    written_suffix(output)
    _refuse_existing([output])
    write_label_map(structures_in(source, scan), output)


def _convert_transform(
    source: Path, output: Path | None, jacobian: Path | None, norm: Path | None, reference: Path | None
) -> None:
    from mics.deformation.formats import files_of, write_transform
    from mics.deformation.maps import jacobian_map, norm_map
    from mics.deformation.transform import Transform
    from mics.image.io import grid_of, read_itk, write_image, written_suffix
    from mics.registration.link import read_link

    maps = [(path, make) for path, make in ((jacobian, jacobian_map), (norm, norm_map)) if path is not None]
    for path, _ in maps:
        written_suffix(path)
    files = [*(() if output is None else files_of(output)), *(path for path, _ in maps)]
    if not files or len({file.resolve() for file in files}) < len(files):
        raise SettingError("Name what is to be written, each by a name of its own: --output, --jacobian, --norm.")
    _refuse_existing(files)
    transform = read_link(str(source), None if reference is None else grid_of(read_itk(reference, pixel=None)))
    if not isinstance(transform, Transform):
        raise GeometryError(f"{source} is an affine, which has no grid: name an image to take it from by --reference.")
    try:
        for path, make in maps:
            write_image(make(transform), path)
        if output is not None:
            write_transform(transform, output)
    except BaseException:  # all files or none; none was there before
        for path in files:
            path.unlink(missing_ok=True)
        raise


def _refuse_existing(files: list[Path]) -> None:
    for path in files:
        if path.exists() or path.is_symlink():
            raise RunError(f"{path} exists already; choose another name, so that nothing is overwritten.")
