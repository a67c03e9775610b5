"""`mics warp`: apply a transform, or several, to images, label maps, landmarks or meshes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mics.cli.output import output_folder
from mics.errors import GeometryError, InputError, RunError, SettingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mics.deformation.chain import Link
    from mics.deformation.transform import Transform
    from mics.image.io import Image

_FAT_HU = -50.0
"""Every CT has fat or air below it; a dose, PET, MR or normalised image has nothing so low."""


def warp(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Images, label maps (with --labels), RTSTRUCT, SEG or RTDOSE of DICOM, points (.csv, .fcsv, "
            ".mrk.json), or surfaces and meshes (.vtk, .vtp, .stl, .ply).",
        ),
    ],
    transform: Annotated[
        str,
        typer.Argument(
            metavar="TRANSFORM",
            help="transform_moving_to_fixed.nii.gz, transform_fixed_to_moving.nii.gz, another displacement field, an affine "
            "or composite (.tfm, .txt, .mat, .h5, .x5) or an affine's inverse, [FILE,1].",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write, its name chooses the format; of several inputs the folder, new or empty.",
        ),
    ],
    then: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRANSFORM", help="Transform to apply after it; may be repeated. All are one interpolation."
        ),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Image whose grid is filled; by default the grid of the (last) transform.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="INPUT is a label map: nearest neighbour, background outside.")
    ] = False,
    outside: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE", help="Value where INPUT has no data; by default -1000 for CT and 0 for any other image."
        ),
    ] = None,
    series: Annotated[
        str | None, typer.Option(metavar="UID", help="The series to take, where INPUT is a DICOM folder of several.")
    ] = None,
) -> None:
    """Apply a transform to each INPUT.

    Images and label maps go the way the file is named: transform_moving_to_fixed brings the MOVING image onto the
    FIXED grid. Points (LPS mm) and meshes go the other way: the same file brings landmarks of the FIXED scan to their place in
    the MOVING one. So TRANSFORM and --then are in the order in which an image goes through them.
    """
    from mics.files.folder import write_together

    _refuse_options(any(map(_is_of_points, sources)), reference, labels, outside, series)
    _refuse_names(sources, output)
    names = [transform, *(then or [])]
    if len(sources) == 1:
        _chain(names, sources, reference, labels, outside, series).apply(sources[0], output)
        return
    with output_folder(output):
        chain = _chain(names, sources, reference, labels, outside, series)
        write_together(output, {_output_name(source): partial(chain.apply, source) for source in sources})


@dataclass(frozen=True)
class _Chain:
    """What is done to each input. ``mapping``: all transforms in one, None where all inputs are points or meshes."""

    names: Sequence[str]
    links: Sequence[Link]
    mapping: Transform | None
    labels: bool
    outside: float | None
    series: str | None

    def apply(self, source: Path, output: Path) -> None:
        """Warp one file into another."""
        from mics.dicom_rt.extra import is_dose, is_structures
        from mics.image.mesh import is_mesh
        from mics.image.points import is_points
        from mics.image.time_series import is_time_series

        if is_points(source):
            self._points(source, output)
        elif is_mesh(source):
            self._mesh(source, output)
        elif is_time_series(source):
            self._time_series(source, output)
        elif is_structures(source):
            self._structures(source, output)
        elif is_dose(source):
            self._dose(source, output)
        elif self.labels:
            self._label_map(source, output)
        else:
            self._image(source, output)

    def _points(self, source: Path, output: Path) -> None:
        from mics.image.points import Points, read_points, write_points

        points = read_points(source)
        write_points(Points(self._moved(points.coordinates, source), points.names), output)

    def _mesh(self, source: Path, output: Path) -> None:
        from mics.image.mesh import read_mesh, write_mesh

        mesh = read_mesh(source)
        write_mesh(mesh.moved(self._moved(mesh.points, source)), output)
        if mesh.has_directions:
            warnings.warn(
                f"The normals and other directions stored in {source} belong to its old shape and are left out of {output}; "
                "viewers compute normals themselves.",
                stacklevel=2,
            )

    def _moved(self, points: NDArray[np.float64], source: Path) -> NDArray[np.float64]:
        from mics.deformation.chain import points_through
        from mics.deformation.suitability import warn_of_points_outside
        from mics.deformation.transform import Transform

        last = self.links[-1]
        if isinstance(last, Transform):
            warn_of_points_outside(points, last, source, self.names[-1])
        return points_through(self.links, points)

    def _label_map(self, source: Path, output: Path) -> None:
        from mics.deformation.suitability import warn_of_emptiness, warn_of_lost_names
        from mics.image.checks import refuse_values_of_scans
        from mics.image.io import read_labels, write_labels
        from mics.image.segments import read_segments

        label_map, segments = read_labels(source, self.series), read_segments(source)
        refuse_values_of_scans(label_map.array, str(source))
        warn_of_lost_names(segments, source, output)
        warped = self._checked(label_map, source).transform_labels(label_map)
        if label_map.array.any():
            warn_of_emptiness(warped, 0, source, " and ".join(self.names))
        write_labels(warped, output, segments)

    def _structures(self, source: Path, output: Path) -> None:
        from mics.dicom_rt.extra import structures_in
        from mics.dicom_rt.structure_file import write_label_map
        from mics.image.io import Image

        structures = structures_in(source)
        one = structures.structures[0].mask.astype("uint8")
        write_label_map(structures.warped(self._checked(Image(one, structures.grid), source)), output)

    def _dose(self, source: Path, output: Path) -> None:
        from mics.dicom_rt.rtdose import NOT_ACCUMULATED, read_dose
        from mics.image.io import write_image

        dose = read_dose(source).image
        value = self.outside if self.outside is not None else 0.0
        write_image(self._checked(dose, source).transform_image(dose, outside=value), output)
        warnings.warn(NOT_ACCUMULATED, stacklevel=2)

    def _image(self, source: Path, output: Path) -> None:
        from mics.deformation.suitability import warn_of_emptiness, warn_of_guess, warn_of_labels
        from mics.image.io import read_image, write_image

        image = read_image(source, self.series)
        mapping = self._checked(image, source)
        warn_of_labels(image, source)
        value = self.outside if self.outside is not None else _outside_of(image)
        warped = mapping.transform_image(image, outside=value)
        if self.outside is None:
            warn_of_guess(image, warped, value, source)
        warn_of_emptiness(warped, value, source, " and ".join(self.names))
        write_image(warped, output)

    def _time_series(self, source: Path, output: Path) -> None:
        from mics.deformation.suitability import warn_of_labels
        from mics.image.checks import refuse_values_of_scans
        from mics.image.time_series import TimeSeries, read_time_series, write_time_series

        series = read_time_series(source)
        if self.labels and series.volumes[0].array.dtype.kind not in "iu":
            raise InputError(f"{source} holds real numbers, as label maps do not: save it with an integer type.")
        mapping = self._checked(series.volumes[0], source)
        if self.labels:
            for volume in series.volumes:
                refuse_values_of_scans(volume.array, str(source))
            warped = [mapping.transform_labels(volume) for volume in series.volumes]
        else:
            warn_of_labels(series.volumes[0], source)
            value = self.outside if self.outside is not None else min(_outside_of(volume) for volume in series.volumes)
            warped = [mapping.transform_image(volume, outside=value) for volume in series.volumes]
        write_time_series(TimeSeries(warped, series.step), output)

    def _checked(self, image: Image, source: Path) -> Transform:
        """The mapping; raises InputError, or warns, where ``image`` is not what it is for."""
        from mics.deformation.suitability import check_scan, require_in_view
        from mics.deformation.transform import Transform

        assert self.mapping is not None
        first = self.links[0]
        if isinstance(first, Transform) and first.provenance is not None:
            check_scan(image, first.provenance, source, self.names[0])
        require_in_view(image.grid, self.mapping, source, " and ".join(self.names))
        return self.mapping


def _chain(
    names: Sequence[str],
    sources: Sequence[Path],
    reference: Path | None,
    labels: bool,
    outside: float | None,
    series: str | None,
) -> _Chain:
    """The transforms, read and joined."""
    from mics.deformation.chain import chained
    from mics.deformation.suitability import warn_of_continuation, warn_of_order
    from mics.deformation.transform import Transform
    from mics.image.io import grid_of, read_itk
    from mics.registration.link import read_link

    grid = None if reference is None else grid_of(read_itk(reference, pixel=None))
    links = [read_link(name) for name in names]
    warn_of_order(links, names)
    if all(map(_is_of_points, sources)):
        return _Chain(names, links, None, labels, outside, series)
    if grid is None and not isinstance(links[-1], Transform):
        raise GeometryError(f"{names[-1]} is an affine, which has no grid: name an image to fill by --reference.")
    if grid is not None and isinstance(links[-1], Transform):
        warn_of_continuation(grid, links[-1], names[-1])
    return _Chain(names, links, chained(links, grid), labels, outside, series)


def _refuse_options(
    of_points: bool, reference: Path | None, labels: bool, outside: float | None, series: str | None
) -> None:
    """Raise InputError for options that an input has no use for; ``of_points``: some are points or meshes."""
    if outside is not None and (labels or of_points):
        raise SettingError(
            "--outside is for images: a label map has background, 0, outside, and points and meshes have no outside."
        )
    if reference is not None and of_points:
        raise SettingError("--reference is for images and label maps: points and meshes lie on no grid.")
    if series is not None and of_points:
        raise SettingError("--series is for the folder of a DICOM study: a list of points or a mesh has none.")


def _refuse_names(sources: Sequence[Path], output: Path) -> None:
    """Raise InputError, before the work, for an input that is not there and an output that cannot be written."""
    from mics.image.checks import refuse_unreadable_name
    from mics.image.io import written_suffix

    if len(sources) == 1:
        if output.exists() or output.is_symlink():
            raise RunError(f"{output} exists already; choose another name, so that nothing is overwritten.")
        if not _is_of_points(sources[0]):
            written_suffix(output)
    elif _is_of_points(output) or _is_written(output):
        raise SettingError(
            f"{output} is the name of one file, and there are {len(sources)} inputs: name a folder, or if some of them are "
            "transforms, give all but the first by --then."
        )
    names = [_output_name(source) for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"Two of the inputs would be written as {twice}: warp them one by one.")
    for source in sources:
        refuse_unreadable_name(source)


def _output_name(source: Path) -> str:
    """The input's own name, ending in a format that is written."""
    from mics.dicom_rt.extra import is_structures

    if _is_of_points(source):
        return f"{source.stem}.mrk.json" if source.suffix.lower() == ".fcsv" else source.name
    if _is_written(source):
        return source.name
    if is_structures(source):
        return f"{source.stem}.seg.nrrd"
    return f"{source.resolve().name if source.is_dir() else source.stem}.nii.gz"


def _is_of_points(path: Path) -> bool:
    """Whether a file holds points or a mesh, which go opposite to images."""
    from mics.image.mesh import is_mesh
    from mics.image.points import is_points

    return is_points(path) or is_mesh(path)


def _is_written(path: Path) -> bool:
    """Whether a volume can be written under this name."""
    from mics.image.io import written_suffix

    try:
        written_suffix(path)
    except InputError:
        return False
    return True


def _outside_of(image: Image) -> float:
    """-1000 HU for what can be CT, otherwise 0."""
    from mics.image.hu import AIR_HU

    return AIR_HU if float(image.array.min()) <= _FAT_HU else 0.0
