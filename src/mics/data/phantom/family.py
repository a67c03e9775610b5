"""Phantoms, pairs of subjects, and pairs with a known deformation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mics.data.phantom import glands, tract, vessels
from mics.data.phantom.intensities import Tissues
from mics.data.phantom.scanner import Scanner, network_scanner, plain_scanner
from mics.data.phantom.shapes import Canvas
from mics.data.phantom.site import Site
from mics.data.phantom.skeleton import Skeleton
from mics.data.phantom.smooth_field import SmoothField, random_field
from mics.data.phantom.subject import EXTENT, PHASES, Phase, Subject, draw_subject
from mics.data.phantom.torso import Torso
from mics.deformation.transform import Transform
from mics.errors import SettingError, require_type, shown
from mics.image.grid import Grid
from mics.image.io import Image
from mics.organs import ORGAN_NAMES

_LOWER = (-96.0, -96.0, -96.0)
_UPPER = (EXTENT[0] + 96.0, EXTENT[1] + 96.0, EXTENT[2] + 96.0)
# Correlation length and standard deviation (mm) of what distinguishes two subjects beyond their numbers, ...
_HABITUS = [(70.0, 6.0), (28.0, 2.5)]
# ... and of what happens to one subject between two scans.
_MOTION = [(60.0, 7.0), (30.0, 3.0)]
Coordinates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


# Later organs indent earlier ones.
_ORDER = (
    vessels.mesentery,
    tract.bowel,
    tract.stomach,
    glands.liver,
    glands.spleen,
    glands.kidneys,
    tract.gallbladder,
    vessels.great_vessels,
    tract.oesophagus,
    glands.pancreas,
    vessels.portal_and_splenic_vein,
    glands.adrenals,
)


@dataclass(frozen=True)
class Phantom:
    """A digital abdomen: HU (float32) and organ labels (uint8) on one grid."""

    image: Image
    labels: Image


@dataclass(frozen=True)
class DeformedPair:
    """One subject twice; `moving_to_fixed` is the truth: it fills the fixed grid from the moving volume."""

    fixed: Phantom
    moving: Phantom
    moving_to_fixed: Transform


def phantom(seed: int, grid: Grid | Scanner | None = None, *, phase: Phase | None = None) -> Phantom:
    """The abdomen of a generated subject.

    Args:
        seed: Which subject, from 0 on.
        grid: A Grid (all of it in view, the subject straight at the world's origin), a Scanner, or by default the network's
            grid (4 mm, 96 x 80 x 128, "LAS") with a field of view drawn as in clinical data.
        phase: The phase of contrast, ``"native"``, ``"arterial"`` or ``"portal"``; drawn if None.

    Returns:
        The scan in HU and its label map, of the thirteen organs.

    Raises:
        InputError: For a seed that is no whole number or below 0, another phase, and what is neither Grid nor Scanner.
    """
    _refuse_other_seeds(seed)
    if phase not in (None, *PHASES):
        raise SettingError(f"A phase of contrast is {', '.join(PHASES)} or None, not {shown(phase)}.", option="phase")
    return _scan(draw_subject(seed, phase), _scanner(grid, seed), None)


def phantom_pair(
    seed: int, fixed: Grid | Scanner | None = None, moving: Grid | Scanner | None = None
) -> tuple[Phantom, Phantom]:
    """Two different generated subjects.

    Args:
        seed: Which pair, from 0 on.
        fixed: How the first is scanned, as `grid` of :func:`phantom`.
        moving: How the second is.

    Returns:
        The fixed and the moving subject.

    Raises:
        InputError: For a seed that is no whole number or below 0, and what is neither Grid nor Scanner.
    """
    _refuse_other_seeds(seed)
    return phantom(2 * seed + 1_000_000, fixed), phantom(2 * seed + 1_000_001, moving)


def deformed_pair(seed: int, fixed: Grid | Scanner | None = None, moving: Grid | Scanner | None = None) -> DeformedPair:
    """A subject, and the same subject deformed by a known smooth diffeomorphism (about 7 mm, up to 30 mm).

    Each scan has its own noise and field of view; `fixed` and `moving` as `grid` of `phantom`.
    """
    subject = draw_subject(seed)
    fixed_scanner, moving_scanner = _scanner(fixed, 2 * seed), _scanner(moving, 2 * seed + 1)
    motion = random_field(np.random.default_rng([seed, 7]), _LOWER, _UPPER, _MOTION)
    # A point of the fixed world, in the subject, moved there, in the moving world.
    points = fixed_scanner.grid.points()
    moved = np.stack(_moved(_apply(fixed_scanner.to_reference, points), motion), axis=-1)
    truth = np.stack(_apply(np.linalg.inv(moving_scanner.to_reference), moved), axis=-1) - points
    return DeformedPair(
        _scan(subject, fixed_scanner, motion),
        _scan(subject, moving_scanner, None),
        Transform(np.asarray(truth, np.float32), fixed_scanner.grid),
    )


def _refuse_other_seeds(seed: object) -> None:
    require_type(seed, (int, np.integer), "The seed of a phantom is a whole number")
    if isinstance(seed, (int, np.integer)) and seed < 0:
        raise SettingError(f"The seed of a phantom is 0 or above, not {seed}.", option="seed")


def _scanner(where: Grid | Scanner | None, seed: int) -> Scanner:
    if isinstance(where, Scanner):
        return where
    require_type(where, (Grid, type(None)), "A phantom is taken on a Grid or by a Scanner")
    return network_scanner(seed) if where is None else plain_scanner(where, seed)


def _apply(matrix: NDArray[np.floating[Any]], points: NDArray[np.float32]) -> Coordinates:
    """Points (..., 3) through an affine (4, 4), as three arrays."""
    # In double: world coordinates may lie a metre from the origin.
    x, y, z = (
        (row[0] * points[..., 0] + row[1] * points[..., 1] + row[2] * points[..., 2] + row[3]).astype(np.float32)
        for row in matrix[:3]
    )
    return x, y, z


def _moved(points: Coordinates, field: SmoothField) -> Coordinates:
    u = field.at(*points)
    return points[0] + u[0], points[1] + u[1], points[2] + u[2]


def _scan(subject: Subject, scanner: Scanner, motion: SmoothField | None) -> Phantom:
    points = _apply(scanner.to_reference, scanner.grid.points())
    moved = points if motion is None else _moved(points, motion)
    habitus = random_field(subject.rng("habitus"), _LOWER, _UPPER, _HABITUS)
    inner = _moved(moved, habitus)
    x, y, z = (p - np.float32(s) for p, s in zip(inner, subject.trunk_shift, strict=True))
    canvas = Canvas((x, y, z), max(scanner.grid.spacing))
    tissues = Tissues(subject)
    torso = Torso(canvas, subject, tissues)
    torso.paint()
    Skeleton(torso).paint()
    site = Site(canvas, subject, tissues, torso)
    for paint in _ORDER:
        paint(site)
    canvas.labels[~scanner.in_view(*points)] = 0
    _keep_largest(canvas.labels)
    hu = scanner.acquire(canvas.hu, points)
    return Phantom(Image(hu, scanner.grid), Image(canvas.labels, scanner.grid))


def _keep_largest(labels: NDArray[np.uint8]) -> None:
    """Clear the crumbs that later organs have cut off earlier ones."""
    for label, box in enumerate(ndimage.find_objects(labels, max(ORGAN_NAMES)), start=1):
        if box is None:
            continue
        view = labels[box]
        parts, count = ndimage.label(view == label, np.ones((3, 3, 3)))
        if count > 1:
            size = np.bincount(parts.ravel())
            size[0] = 0
            view[(parts > 0) & (parts != size.argmax())] = 0
