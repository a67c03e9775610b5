"""A transform without any fold, as near as can be to one that has some.

Looked at and changed is the field as the file holds it. Folded places are opened at a coarse spacing first, where the way
out is a few voxels, and then at the field's own; no voxel moves but those around them. What this leaves folded is smoothed, more
widely each time, and in the end the whole field gives way to the affine, which does not fold. So it always ends.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mics.deformation.folds import Field, FoldIndex, FoldReport, FoldSurvey, boxes_around, find_folds
from mics.deformation.jacobian import jacobian_determinant, nondiffeomorphic_volume
from mics.deformation.slabs import Box, positions
from mics.deformation.stored import as_stored
from mics.deformation.transform import Transform
from mics.deformation.unfold import unfold, voxels_of
from mics.errors import GeometryError
from mics.image.grid import Grid

Matrix = NDArray[np.floating]

# What is called folded, so that no reader's rounding turns it over; less where the affine itself shrinks.
_MIN_DETERMINANT = 0.01
_COARSE_MM = 4.0
_BISECTIONS = 6


@dataclass(frozen=True)
class Certificate:
    """What keeping the topology has changed, and what holds now, of one transform.

    ``folds_*`` is the share of voxels, 0 to 1, whose |J| by central differences is zero or negative, ``ndv_percent_*`` the
    non-diffeomorphic volume (:mod:`mics.deformation.jacobian`). ``least_central`` and ``least_tetrahedron`` are the smallest
    |J| afterwards, by central differences at every voxel and over the ten tetrahedra of every cell, the border included.
    """

    voxels_changed: int
    largest_change_mm: float
    mean_change_mm: float
    """Over the voxels that changed."""
    least_central: float
    least_tetrahedron: float
    folds_before: float
    folds_after: float
    ndv_percent_before: float
    ndv_percent_after: float


def preserve_topology(transform: Transform, affine: Matrix) -> tuple[Transform, Certificate]:
    """Change a transform as little as makes it free of folds.

    Every determinant, by central differences at each voxel and of the ten tetrahedra of each cell, becomes at least a hundredth,
    or a hundredth of the affine's where that is smaller. Where all are already, nothing changes but what the file rounds.

    Args:
        transform: Of at least three voxels along each axis.
        affine: What it deforms, (4, 4), from LPS points of the filled grid to those of the volume sampled from.

    Returns:
        The transform as :meth:`Transform.save` writes it, and its certificate.

    Raises:
        InputError: If the affine mirrors or flattens, as then every deformation with it folds.
        ValueError: Below three voxels along an axis.

    References:
        Liu et al. 2024, "On finite difference Jacobian computation in deformable image registration", IJCV.
    """
    if min(transform.grid.size) < 3:
        raise ValueError(f"The topology is checked from three voxels along each axis, not {transform.grid.size}.")
    refuse_mirrors(affine)
    least = _MIN_DETERMINANT * min(1.0, float(np.linalg.det(affine[:3, :3])))
    original = Transform(as_stored(transform.displacement_mm), transform.grid)
    survey = FoldSurvey.of(_field(original), least)
    before = survey.report
    if not before.folded:
        return original, _certificate(original, before, original, before)
    found = _start(original, least)
    field = _field(found)
    started = survey.after(field, least, _changed(found, original))
    folded = unfold(field, original.displacement_mm, started.report.folded, least)
    if folded:
        _smooth(found, affine, folded, least)
        _draw_back(found, original, least)
    after = survey.after(field, least, _changed(found, original)).report
    if after.folded:
        found = _towards_affine(original, affine, least)
        after = _find_folds(found, least)
        if after.folded:
            raise GeometryError(
                "The affine flattens the patient to what the file's rounding folds: check the headers of both scans."
            )
    return found, _certificate(original, before, found, after)


def refuse_mirrors(affine: Matrix) -> None:
    """Raise InputError if ``affine`` (4, 4) mirrors or flattens, so that no deformation with it can keep the topology."""
    if np.linalg.det(affine[:3, :3]) <= 0:
        raise GeometryError(
            "The affine mirrors or flattens the patient, so every deformation with it folds: check the headers of both scans."
        )


def _field(transform: Transform) -> Field:
    return Field(transform.displacement_mm, transform.grid.matrix[:3, :3])


def _find_folds(transform: Transform, least: float) -> FoldReport:
    field = _field(transform)
    return find_folds(field, least, field.everywhere)


def _certificate(original: Transform, before: FoldReport, result: Transform, after: FoldReport) -> Certificate:
    pairs = zip(result.displacement_mm, original.displacement_mm, strict=True)
    change = np.stack([np.linalg.norm(after_mm - before_mm, axis=-1) for after_mm, before_mm in pairs])
    changed = change[change > 0]
    folds_before, ndv_before = _folds(original, before)
    folds_after, ndv_after = _folds(result, after)
    return Certificate(
        voxels_changed=changed.size,
        largest_change_mm=float(changed.max(initial=0)),
        mean_change_mm=float(changed.mean()) if changed.size else 0.0,
        least_central=after.central,
        least_tetrahedron=after.tetrahedron,
        folds_before=folds_before,
        folds_after=folds_after,
        ndv_percent_before=ndv_before,
        ndv_percent_after=ndv_after,
    )


def _folds(transform: Transform, found: FoldReport) -> tuple[float, float]:
    """Share of folds and non-diffeomorphic volume, looked for only where ``found`` says that there are any."""
    if min(found.central, found.tetrahedron) > 0:
        return 0.0, 0.0
    grid, size = transform.grid, np.array(transform.grid.size)
    folds = volume = 0.0
    for box in boxes_around(voxels_of(_field(transform), found.folded), grid.size, (3, 3, 3)):
        voxels = Transform(transform.displacement_mm[box], _part(grid, box)).displacement_voxels()
        # Where the box ends and the field does not, differences are one-sided as they are not in the field; nothing folds there.
        inner = tuple(
            slice(0 if part.start == 0 else 1, None if part.stop == n else -1)
            for part, n in zip(box, size, strict=True)
        )
        folds += int((jacobian_determinant(voxels)[0][inner] <= 0).sum())
        volume += nondiffeomorphic_volume(voxels) * float(np.prod(np.array(voxels.shape[2:]) - 2))
    return folds / float(size.prod()), volume / float((size - 2).prod())


def _changed(found: Transform, original: Transform) -> NDArray[np.int64]:
    """Flat indices of the voxels that differ."""
    return np.flatnonzero((found.displacement_mm != original.displacement_mm).any(axis=-1))


def _start(original: Transform, least: float) -> Transform:
    """``original``, and what a field of every n-th voxel had to change to fold nowhere."""
    grid = original.grid
    found = Transform(original.displacement_mm.copy(), grid)
    steps = [max(1, min(int(_COARSE_MM / s), (n - 1) // 2)) for s, n in zip(grid.spacing, grid.size, strict=True)]
    if max(steps) == 1:
        return found
    coarse = original.subsampled(steps)
    field = Field(coarse.displacement_mm.copy(), coarse.grid.matrix[:3, :3])
    unfold(field, coarse.displacement_mm, find_folds(field, least, field.everywhere).folded, least)
    change = Transform(field.displacement_mm - coarse.displacement_mm, coarse.grid)
    changed = np.flatnonzero(change.displacement_mm.any(axis=-1))
    for box in boxes_around(changed, coarse.grid.size, (1, 1, 1)):
        fine = tuple(
            slice(part.start * step, n if part.stop == m else (part.stop - 1) * step + 1)
            for part, step, n, m in zip(box, steps, grid.size, coarse.grid.size, strict=True)
        )
        found.displacement_mm[fine] += change.resampled(_part(grid, fine)).displacement_mm
    found.displacement_mm[...] = as_stored(found.displacement_mm)
    return found


def _part(grid: Grid, box: Box) -> Grid:
    """The grid of the voxels in ``box``."""
    x, y, z = (part.stop - part.start for part in box)
    i, j, k = grid.voxel_to_world([part.start for part in box]).tolist()
    return Grid((x, y, z), grid.spacing, (i, j, k), grid.direction)


def _smooth(found: Transform, affine: Matrix, folded: FoldIndex, least: float) -> None:
    """Smooth what differs from the affine around the determinants ``folded``, more widely each time while some remain."""
    field, grid = _field(found), found.grid
    width_mm = min(grid.spacing)
    while folded and width_mm < max(n * s for n, s in zip(grid.size, grid.spacing, strict=True)):
        width_mm *= 2
        reach = [min(int(width_mm / s), n) for s, n in zip(grid.spacing, grid.size, strict=True)]
        at, size = voxels_of(field, folded), grid.size
        core = np.zeros(size, dtype=np.bool_)
        core.flat[at] = True
        boxes = boxes_around(at, size, tuple(6 * r + 1 for r in reach))
        for box in boxes:
            near = ndimage.maximum_filter(core[box], [6 * r + 1 for r in reach]).astype(np.float32)
            weight = _blurred(near, reach)
            rest = _affine_displacement(affine, _part(grid, box))
            for axis in range(3):
                part = found.displacement_mm[box][..., axis]
                deformation = part - rest[axis]
                part += weight * (_blurred(deformation, reach) - deformation)
            found.displacement_mm[box] = as_stored(found.displacement_mm[box])
        folded = find_folds(field, least, boxes).folded


def _blurred(values: NDArray[np.float32], reach: list[int]) -> NDArray[np.float32]:
    """Three moving averages over ``reach`` voxels to each side, nearly a Gaussian, at the same cost for any width."""
    for _ in range(3):
        values = ndimage.uniform_filter(values, [2 * r + 1 for r in reach], mode="nearest")
    return values


def _draw_back(found: Transform, original: Transform, least: float) -> None:
    """Each changed place as far back towards ``original`` as it does not fold."""
    field, size = _field(found), found.grid.size
    for box in boxes_around(_changed(found, original), size, (1, 1, 1)):
        whole, start = found.displacement_mm[box].copy(), original.displacement_mm[box]
        if find_folds(field, least, [box]).folded:
            continue
        best, low, high = whole, 0.0, 1.0
        for _ in range(_BISECTIONS):
            share = (low + high) / 2
            found.displacement_mm[box] = as_stored(start + share * (whole - start))
            if find_folds(field, least, [box]).folded:
                low = share
            else:
                high, best = share, found.displacement_mm[box].copy()
        found.displacement_mm[box] = best


def _towards_affine(original: Transform, affine: Matrix, least: float) -> Transform:
    """The affine and the largest share of all that differs from it, by bisection, that does not fold."""
    rest = np.moveaxis(_affine_displacement(affine, original.grid), 0, -1)
    best, low, high = Transform(as_stored(rest), original.grid), 0.0, 1.0
    for _ in range(_BISECTIONS):
        share = (low + high) / 2
        mixed = original.displacement_mm - rest
        mixed *= share
        mixed += rest
        tried = Transform(as_stored(mixed), original.grid)
        if _find_folds(tried, least).folded:
            high = share
        else:
            low, best = share, tried
    return best


def _affine_displacement(affine: Matrix, grid: Grid) -> NDArray[np.float32]:
    """Where ``affine`` moves the points of ``grid``, (3, X, Y, Z) in mm."""
    return positions((affine - np.eye(4)) @ grid.matrix, grid.size)
