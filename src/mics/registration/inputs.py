"""The two scans and their label maps, read and checked before anything long begins."""

import dataclasses
import itertools
import os
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, TypeGuard, Unpack

import numpy as np

from mics.data.label_names import LabelNames, disagreement, known_names, read_label_names
from mics.dicom_rt.extra import is_structures
from mics.errors import GeometryError, InputError, SettingError, shown
from mics.evaluation.structure_labels import structure_labels
from mics.files.paths import as_path
from mics.image.checks import one_value, refuse_values_of_scans
from mics.image.grid import GRID_TOLERANCE_VOXELS, Grid
from mics.image.hounsfield import hounsfield_units
from mics.image.io import Image, read_image, read_labels, whole_numbers
from mics.image.lattice import difference, with_axes_of
from mics.image.libraries import as_image
from mics.registration.pair import Pair
from mics.registration.same_scan import warn_of_same_scan

Source = Any
"""A file or the folder of a DICOM series (str or Path), an :class:`Image`, or a volume of another library
(:func:`mics.image.libraries.as_image`)."""


class PairArguments(TypedDict, total=False):
    """Arguments that can be given with two scans, each by its name; all may be left out."""

    fixed_labels: Source | None
    """Label map on the grid of the fixed scan: warped along, and scored if both scans have one."""
    moving_labels: Source | None
    """Label map on the grid of the moving scan."""
    label_names: LabelNames | None
    """Names of the labels, a mapping or a file (:func:`mics.data.label_names.read_label_names`); by default what the label
    maps' files or their data set say."""
    fixed_landmarks: str | Path | None
    """A file of points on the fixed scan (:func:`mics.image.points.read_points`): their distances to those of the moving scan
    are measured, before and after."""
    moving_landmarks: str | Path | None
    """The same points on the moving scan, in the same order."""
    fixed_exclude: Source | None
    """Label map on the grid of the fixed scan, above 0 where it shows what the other scan has no counterpart of: not compared."""
    moving_exclude: Source | None
    """The same of the moving scan."""
    fixed_lesions: Source | None
    """Lesions on the grid of the fixed scan, one id a lesion, where both scans are of one patient."""
    moving_lesions: Source | None
    """The same lesions on the moving scan, with the same ids."""
    fixed_series: str | None
    """UID of the series to take, where the folder of the fixed scan holds several."""
    moving_series: str | None
    """The same of the moving scan."""


_LISTENING = threading.Lock()
# Air and lung lie below.
_TISSUE_HU = -300
# 3D Slicer's segmentations are cropped to what they hold.
_CROPPED_SUFFIX = ".seg.nrrd"


@dataclass(frozen=True)
class Scan:
    """A scan, float32 HU, and on the same grid, if given, its label map and a mask of what is not compared.

    Paths are None for arrays.
    """

    image: Image
    labels: Image | None
    exclude: Image | None
    path: str | None
    labels_path: str | None
    exclude_path: str | None
    lesions: Image | None = None
    """A label map with one id a lesion."""
    lesions_path: str | None = None
    label_names: dict[int, str] = dataclasses.field(default_factory=dict)
    """What its label map says that labels mean."""


def load_scan(
    source: Source,
    labels: Source | None,
    role: str,
    *,
    exclude: Source | None = None,
    lesions: Source | None = None,
    series: str | None = None,
    names: Mapping[int, str] | None = None,
    other: Source | None = None,
) -> Scan:
    """Read and check a scan, its label map and its mask; ``role``, fixed or moving, names arrays in messages.

    ``series`` is the UID of the one to take from a folder of several. ``other`` is the pair's other scan, which is looked at
    where a label map does not fit. Labels that are DICOM structures (RTSTRUCT, SEG) become a
    label map with the numbers that ``names`` has for them.

    Raises InputError for everything that :func:`mics.image.io.read_image` refuses, for arrays with the same faults, for
    values that are not Hounsfield units (:func:`mics.image.hounsfield.hounsfield_units`, which makes padding air), and
    for a label map or mask that is on another grid, not of integers, negative, or of more values than organs have. A
    Slicer segmentation (.seg.nrrd) that is cropped from the scan's lattice is taken as background beyond.
    """
    source = _as_source(source, f"The {role} scan")
    labels = None if labels is None else _as_label_source(labels, f"The {role} label map")
    exclude = None if exclude is None else _as_label_source(exclude, f"The {role} mask of what to leave out")
    lesions = None if lesions is None else _as_label_source(lesions, f"The {role} lesion map")
    name, labels_name = _name(source, f"The {role} scan"), _name(labels, f"The {role} label map")
    exclude_name = _name(exclude, f"The {role} mask of what to leave out")
    if series is not None and isinstance(source, Image):
        raise SettingError(f"{name} is an Image: a series is chosen from the folder of a DICOM study.")
    image = _checked(source, name) if isinstance(source, Image) else read_image(source, series)
    image = Image(hounsfield_units(image.array, name, orientation=image.grid.orientation), image.grid)
    meaning: dict[int, str] = {}
    if _are_structures(labels):
        scan = None if isinstance(source, Image) else as_path(source)
        drawn, meaning = structure_labels(as_path(labels), names or {}, grid=image.grid, scan=scan, series=series)
        label_map: Image | None = drawn
    else:
        label_map = None if labels is None else _labels(labels, labels_name, image, name, other)
        meaning = {} if labels is None or isinstance(labels, Image) else known_names(labels)
    if label_map is not None and (message := one_value(label_map.array, labels_name)):
        warnings.warn(message, stacklevel=2)
    mask = None if exclude is None else _labels(exclude, exclude_name, image, name, other)
    if mask is not None:
        _refuse_nothing_left(mask, exclude_name, image)
        if mask.array.max() == 0:
            warnings.warn(f"{exclude_name} leaves out nothing: it is 0 everywhere.", UserWarning, stacklevel=2)
    lesions_name = _name(lesions, f"The {role} lesion map")
    lesion_map = None if lesions is None else _labels(lesions, lesions_name, image, name, other)
    if lesion_map is not None:
        _refuse_nothing_left(lesion_map, lesions_name, image)
        if lesion_map.array.max() == 0:
            warnings.warn(f"{lesions_name} holds no lesion: it is 0 everywhere.", UserWarning, stacklevel=2)
    return Scan(
        image,
        label_map,
        mask,
        _path(source),
        _path(labels),
        _path(exclude),
        lesions=lesion_map,
        lesions_path=_path(lesions),
        label_names=meaning,
    )


def load_pair(
    *,
    fixed: Source,
    moving: Source,
    **given: Unpack[PairArguments],
) -> tuple[Pair[Scan], list[str]]:
    """Both scans, and the sentences of what was warned about on the way (which are warned about all the same).

    Structures of DICOM are numbered as ``label_names`` says, else as the other scan's labels with the same names are.

    Raises InputError as :func:`load_scan` does, and TypeError for an argument that :class:`PairArguments` does not have.
    """
    if unknown := sorted(given.keys() - PairArguments.__annotations__.keys()):
        raise TypeError(f"A pair has no argument {unknown[0]!r}; it takes {', '.join(PairArguments.__annotations__)}.")
    fixed_labels, moving_labels = given.get("fixed_labels"), given.get("moving_labels")
    fixed_series, moving_series = given.get("fixed_series"), given.get("moving_series")
    names = _names_of_maps(given.get("label_names"), fixed_labels, moving_labels)
    if not names:
        _refuse_nameless(fixed_labels, moving_labels)
    # All threads share the state of `warnings`: one at a time may listen, and only to itself.
    caught: list[tuple[threading.Thread, warnings.WarningMessage]] = []
    with _LISTENING:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda *about: caught.append(
                (threading.current_thread(), warnings.WarningMessage(*about))
            )
            target = load_scan(
                fixed,
                fixed_labels,
                "fixed",
                exclude=given.get("fixed_exclude"),
                lesions=given.get("fixed_lesions"),
                series=fixed_series,
                names=names,
                other=moving,
            )
            source = load_scan(
                moving,
                moving_labels,
                "moving",
                exclude=given.get("moving_exclude"),
                lesions=given.get("moving_lesions"),
                series=moving_series,
                names=target.label_names | names,
                other=target.image,
            )
            paths = [as_path(one) if _is_path(one) else None for one in (fixed, moving)]
            warn_of_same_scan(
                fixed=target.image, moving=source.image, sources=paths, series=[fixed_series, moving_series]
            )
        for _, warning in caught:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    own = [warning for thread, warning in caught if thread is threading.current_thread()]
    return Pair(fixed=target, moving=source), [
        str(warning.message) for warning in own if issubclass(warning.category, UserWarning)
    ]


def meaning_of_labels(given: LabelNames | None, scans: Pair[Scan]) -> tuple[dict[int, str], list[str]]:
    """What the labels of both scans mean, as given or as their files say, and a sentence where these disagree.

    Raises InputError for names that cannot be read, and for names without a label map.
    """
    if given is not None:
        if scans.fixed.labels is None and scans.moving.labels is None:
            raise SettingError("Label names are for label maps: give those of both scans too.")
        return scans.moving.label_names | scans.fixed.label_names | read_label_names(given), []
    of_fixed, of_moving = scans.fixed.label_names, scans.moving.label_names
    return of_moving | of_fixed, disagreement(of_fixed, of_moving)


def _is_path(source: object) -> TypeGuard[str | Path]:
    return isinstance(source, str | os.PathLike)


def _are_structures(labels: object) -> TypeGuard[str | Path]:
    return _is_path(labels) and is_structures(as_path(labels))


def _names_of_maps(given: LabelNames | None, *labels: Source | None) -> dict[int, str]:
    """What the labels are called, as given or as their label maps say; structures say nothing of numbers."""
    if given is not None:
        return read_label_names(given)
    names: dict[int, str] = {}
    for one in labels:
        if _is_path(one) and not _are_structures(one):
            names = known_names(one) | names
    return names


def _refuse_nameless(*labels: Source | None) -> None:
    """Raise InputError for structures beside a label map of which no label has a name: nothing says which are the same."""
    if {_are_structures(one) for one in labels if one is not None} == {True, False}:
        raise SettingError(
            "One scan has structures of DICOM, which have names, and the other a label map that has none: say by "
            "`label_names` what its numbers mean.",
            option="label_names",
        )


def _as_source(source: Source, name: str, *, labels: bool = False) -> str | Path | Image:
    """A name, or the Image of whatever library's volume; raises InputError for anything else."""
    if isinstance(source, str | os.PathLike):
        return Path(source) if isinstance(source, os.PathLike) else source
    image = as_image(source, name, labels=labels)
    if image is None:
        raise SettingError(
            f"{name} is a file, a DICOM folder or an Image, not {shown(source)}; volumes of SimpleITK, nibabel, ANTs, MONAI and "
            "TorchIO are taken as well, and (array, grid)."
        )
    return image


def _as_label_source(source: Source, name: str) -> str | Path | Image:
    """:func:`_as_source`; other libraries hold label maps as real numbers."""
    given = _as_source(source, name, labels=True)
    return given if isinstance(source, Image) or not isinstance(given, Image) else whole_numbers(given, name)


def _checked(image: Image, name: str) -> Image:
    if image.array.dtype == np.bool_:
        raise InputError(f"{name} is an array of truth values: give integers or real numbers (HU).")
    array = image.array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinite voxels: replace them, by -1000 HU where it is empty.")
    if array.min() == array.max():
        raise InputError(f"{name} is constant, so there is nothing to register.")
    return Image(array, image.grid)


def _labels(source: Source, name: str, image: Image, image_name: str, other: Source | None) -> Image:
    labels = source if isinstance(source, Image) else read_labels(source)
    if labels.array.dtype == np.bool_:
        labels = Image(labels.array.view(np.uint8), labels.grid)
    if not np.issubdtype(labels.array.dtype, np.integer):
        raise InputError(f"{name} is not a label map: it is not of an integer type.")
    # Other byte orders are numpy's alone: neither torch nor ITK takes them.
    labels = Image(labels.array.astype(labels.array.dtype.newbyteorder("="), copy=False), labels.grid)
    refuse_values_of_scans(labels.array, name)
    labels = with_axes_of(labels, image.grid)
    if name.lower().endswith(_CROPPED_SUFFIX):
        labels = _uncropped(labels, image.grid)
    if not labels.grid.is_close(image.grid, GRID_TOLERANCE_VOXELS * min(image.grid.spacing)):
        exchanged = other is not None and _lies_on(labels, other)
        remedy = (
            "it fits the other scan, so are they exchanged?"
            if exchanged
            else "resample it onto the scan with nearest neighbour."
        )
        raise GeometryError(
            f"{name} is on another grid than {image_name.replace('The ', 'the ', 1)} "
            f"({difference(labels.grid, image.grid)}): {remedy}"
        )
    return dataclasses.replace(labels, grid=image.grid)


def _lies_on(labels: Image, scan: Source) -> bool:
    """Whether a label map fits a scan, which need not be readable."""
    with suppress(InputError):
        source = _as_source(scan, "The other scan")
        grid = (source if isinstance(source, Image) else read_image(source)).grid
        return with_axes_of(labels, grid).grid.is_close(grid, GRID_TOLERANCE_VOXELS * min(grid.spacing))
    return False


def _refuse_nothing_left(mask: Image, name: str, image: Image) -> None:
    """Raise InputError for a mask that leaves out all that a scan shows."""
    if not (image.array[mask.array == 0] > _TISSUE_HU).any():
        raise InputError(
            f"{name} leaves out all of the scan (all but air), so there is nothing to register: mask the lesion alone."
        )


def _uncropped(labels: Image, grid: Grid) -> Image:
    """A map on the lattice of ``grid`` but another part of it, with background where it says nothing; others as they are."""
    own = np.array(labels.grid.size) - 1
    corners = np.array(list(itertools.product(*((0, last) for last in own))))
    shifts = grid.world_to_voxel(labels.grid.voxel_to_world(corners)) - corners
    first = np.rint(shifts[0]).astype(int)
    lower, upper = np.maximum(first, 0), np.minimum(first + own + 1, grid.size)
    if np.abs(shifts - first).max() > GRID_TOLERANCE_VOXELS or (lower >= upper).any():
        return labels
    array = np.zeros(grid.size, labels.array.dtype)
    into = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
    array[into] = labels.array[tuple(slice(a - f, b - f) for a, b, f in zip(lower, upper, first, strict=True))]
    return Image(array, grid)


def _name(source: Source | None, otherwise: str) -> str:
    return otherwise if source is None or isinstance(source, Image) else str(source)


def _path(source: Source | None) -> str | None:
    return None if source is None or isinstance(source, Image) else str(source)
