"""What the page shows of a registration's volumes, small enough for one file: in anatomical order, coarser, packed.

All arrays are (Z, Y, X): slices from Inferior to Superior, rows from Anterior to Posterior, columns from Right to Left, or as
near to it as the fixed scan's own axes are; nothing is turned by less than a right angle.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from isal.isal_zlib import compress
from numpy.typing import NDArray

from mics.deformation.jacobian import jacobian_determinant
from mics.deformation.transform import Transform
from mics.image.grid import Grid, apply_matrix
from mics.image.hu import AIR_HU
from mics.image.io import Image
from mics.image.resample import inside, resample
from mics.report.planes import three_planes, world_axes
from mics.report.sheets import centre_voxel, has_data, volume_change

if TYPE_CHECKING:
    from mics.registration.register import Registration

Steps = tuple[int, int, int]

MAX_VOXELS = 6_600_000
HU_KNOTS, CODE_KNOTS = (-1024, -200, 300, 3068), (1, 104, 354, 700)
"""A code is linear between these: a step is 8 HU, 2 HU in soft tissue, 8 HU; code 0: no data."""
FIELD_MM = 4.0
STEPS_PER_MM = 8
"""Of a displacement."""
STEPS_PER_OCTAVE, NO_CHANGE = 40, 128
"""Of log2 of the Jacobian; its code for no change of volume; code 0: folded."""


@dataclass(frozen=True)
class Anatomical:
    """How the arrays of a grid are brought into anatomical order: ``axes`` that run along L, P, S; whether each rises so."""

    grid: Grid
    axes: Steps
    rising: tuple[bool, bool, bool]

    @classmethod
    def of(cls, grid: Grid) -> Anatomical:
        """The nearest order of a grid of any direction."""
        return cls(grid, *world_axes(grid))

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view (Z, Y, X, ...) of an array (I, J, K, ...)."""
        flips = tuple(slice(None, None, 1 if rises else -1) for rises in self.rising)
        ordered = array.transpose(*self.axes, *range(3, array.ndim))[flips]
        return ordered.transpose(2, 1, 0, *range(3, array.ndim))

    @property
    def size(self) -> Steps:
        """Voxels along X, Y and Z."""
        x, y, z = (self.grid.size[axis] for axis in self.axes)
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxels along X, Y and Z."""
        x, y, z = (self.grid.spacing[axis] for axis in self.axes)
        return x, y, z

    @property
    def to_file(self) -> NDArray[np.float64]:
        """From a voxel (x, y, z, 1) in this order to the file's (i, j, k, 1), (4, 4)."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for column, (axis, rises) in enumerate(zip(self.axes, self.rising, strict=True)):
            matrix[axis, column] = 1 if rises else -1
            matrix[axis, 3] = 0 if rises else self.grid.size[axis] - 1
        return matrix

    def some(self, transform: Transform, steps: Steps, offsets: Steps, counts: Steps) -> NDArray[np.float32]:
        """Displacements (Z, Y, X, 3) at so many voxels in this order, the first at ``offsets``, every n-th from there.

        ``transform`` lies on this grid; of its other voxels nothing is computed.
        """
        box = [slice(None)] * 3
        for axis, rises, step, offset, count in zip(self.axes, self.rising, steps, offsets, counts, strict=True):
            first, last = offset, offset + step * (count - 1)
            if not rises:
                first, last = self.grid.size[axis] - 1 - last, self.grid.size[axis] - 1 - first
            box[axis] = slice(first, last + 1, step)
        return self.turn(transform.part(tuple(box)))

    def subsampled(self, steps: Steps, offset: Sequence[float]) -> Grid:
        """The grid (X, Y, Z) of every n-th voxel in this order, the first one at ``offset`` voxels."""
        matrix = self.grid.matrix @ self.to_file
        x, y, z = (n // step for n, step in zip(self.size, steps, strict=True))
        i, j, k = (spacing * step for spacing, step in zip(self.spacing, steps, strict=True))
        origin = matrix @ [*offset, 1]
        direction = matrix[:3, :3] / np.array(self.spacing)
        return Grid((x, y, z), (i, j, k), tuple(origin[:3].tolist()), tuple(direction.ravel().tolist()))


def shown_volumes(registration: Registration, most_voxels: int = MAX_VOXELS) -> tuple[dict[str, Any], dict[str, str]]:
    """What the page's viewer needs: its geometry and tables, fit for JSON, and its volumes by name, packed as text.

    The scans are averaged over blocks of voxels so that there are at most ``most_voxels``; label maps are taken at the blocks'
    middles, displacements (mm, LPS) and the Jacobian, without the affine's share, at voxels up to 4 mm apart.
    """
    order = Anatomical.of(registration.fixed.grid)
    steps = coarser(order.size, order.spacing, most_voxels)
    apart = _apart(order)
    labels = _label_maps(registration, order, steps)
    ids = np.array(sorted({int(label) for array in labels.values() for label in np.unique(array[array > 0])}))
    wanted: dict[str, Callable[[], bytes]] = {
        **_scans(registration, order, steps),
        **_fields(registration, order, apart),
        **{name: partial(_packed_labels, array, ids) for name, array in labels.items()},
    }
    with ThreadPoolExecutor(2) as pool:
        packed = dict(zip(wanted, pool.map(lambda make: b64encode(make()).decode(), wanted.values()), strict=True))
    centre = np.linalg.inv(order.to_file) @ [*centre_voxel(registration), 1]
    return {
        "size": order.size,
        "spacing": order.spacing,
        "steps": steps,
        "apart": apart,
        "toWorld": (order.grid.matrix @ order.to_file).tolist(),
        "toFile": order.to_file.tolist(),
        "affine": np.asarray(registration.affine).tolist(),
        "start": centre[:3].tolist(),
        "edges": {plane.name: plane.edges for plane in three_planes(order.grid, np.zeros(3))},
        "codes": {"hu": HU_KNOTS, "code": CODE_KNOTS},
        "stepsPerMm": STEPS_PER_MM,
        "stepsPerOctave": STEPS_PER_OCTAVE,
        "noChange": NO_CHANGE,
        "labels": ids.tolist(),
    }, packed


def coarser(size: Steps, spacing: Sequence[float], most_voxels: int) -> Steps:
    """Voxels to a block along each axis, so that at most so many blocks remain; the finest axis gives way first."""
    steps = [1, 1, 1]

    def blocks() -> list[int]:
        return [n // step for n, step in zip(size, steps, strict=True)]

    while np.prod(blocks()) > most_voxels:
        finest = min(range(3), key=lambda axis: steps[axis] * spacing[axis] if blocks()[axis] > 1 else np.inf)
        steps[finest] += 1
    return steps[0], steps[1], steps[2]


def block_means(array: NDArray[Any], steps: Steps) -> NDArray[np.float32]:
    """The mean of every block of ``steps`` (along X, Y, Z) voxels of an array (Z, Y, X), float32; what fills none is left out."""
    x, y, z = steps
    depth, height, width = (n // step for n, step in zip(array.shape, (z, y, x), strict=True))
    total = np.zeros((depth, height, width), dtype=np.float32)
    for k in range(z):
        for j in range(y):
            for i in range(x):
                total += array[k : depth * z : z, j : height * y : y, i : width * x : x]
    total /= x * y * z
    return total


def hu_codes(hu: NDArray[np.float32], known: NDArray[np.bool_] | bool = True) -> NDArray[np.uint16]:
    """Codes of HU by :data:`HU_KNOTS`, 0 where nothing is ``known``."""
    low, high = HU_KNOTS[0], HU_KNOTS[-1]
    table = np.rint(np.interp(np.arange(low, high + 1), HU_KNOTS, CODE_KNOTS)).astype(np.uint16)
    codes: NDArray[np.uint16] = table[np.rint(np.clip(hu, low, high)).astype(np.int16) - low]
    codes[~np.broadcast_to(known, codes.shape)] = 0
    return codes


def log_jacobian_codes(determinant: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Codes of :func:`mics.report.sheets.volume_change`; 0 where it folds."""
    octaves = volume_change(determinant, affine)
    codes: NDArray[np.uint8] = np.clip(np.rint(octaves * STEPS_PER_OCTAVE) + NO_CHANGE, 1, 255).astype(np.uint8)
    codes[np.isneginf(octaves)] = 0
    return codes


def _packed_labels(array: NDArray[Any], ids: NDArray[Any]) -> bytes:
    """The place of each voxel's label among ``ids``, from 1; 0 for the background."""
    codes = np.zeros(array.shape, dtype=np.uint16)
    shown = array > 0
    codes[shown] = np.searchsorted(ids, array[shown]) + 1
    return _packed(codes)


def _apart(order: Anatomical) -> Steps:
    """Voxels between two nodes of the deformation along each axis; a difference needs two nodes."""
    x, y, z = (
        max(1, min(int(FIELD_MM / spacing), size - 1)) for spacing, size in zip(order.spacing, order.size, strict=True)
    )
    return x, y, z


def _scans(registration: Registration, order: Anatomical, steps: Steps) -> dict[str, Callable[[], bytes]]:
    fixed, moving, affine = registration.fixed, registration.moving, registration.affine
    grid = order.subsampled(steps, [(step - 1) / 2 for step in steps])

    def before() -> bytes:
        values = resample(moving, grid, affine, nearest=False, outside=AIR_HU).array
        codes = hu_codes(values.T, inside(moving.grid, grid, affine).T)
        # It is only to compare with: half of the room for four times the step.
        return _packed((codes + 3) // 4 * 4)

    def after() -> bytes:
        means = block_means(order.turn(registration.moving_warped.array), steps)
        known = np.ones(means.shape, dtype=np.bool_)
        # What is filled from beyond the moving scan is air, so only there it is asked, which takes its time.
        air = np.nonzero(means == AIR_HU)
        middles = np.stack(
            [step * place + step // 2 for step, place in zip(steps, reversed(air), strict=True)], axis=-1
        )
        offsets, counts = [step // 2 for step in steps], list(reversed(means.shape))
        shift = order.some(registration.moving_to_fixed, steps, _three(offsets), _three(counts))[air]
        known[air] = has_data(moving.grid, apply_matrix(order.grid.matrix @ order.to_file, middles) + shift)
        return _packed(hu_codes(means, known))

    return {
        "fixed": lambda: _packed(hu_codes(block_means(order.turn(fixed.array), steps))),
        "before": before,
        "after": after,
    }


def _fields(registration: Registration, order: Anatomical, apart: Steps) -> dict[str, Callable[[], bytes]]:
    counts = _three([-(-n // step) for n, step in zip(order.size, apart, strict=True)])
    nodes = order.some(registration.moving_to_fixed, apart, (0, 0, 0), counts)

    def component(axis: int) -> bytes:
        whole = np.clip(np.rint(nodes[..., axis] * STEPS_PER_MM), -32768, 32767).astype(np.int16)
        # Smooth along a row: what changes takes a third of the room of what there is.
        return _packed(np.diff(whole.ravel(), prepend=np.int16(0)))

    def jacobian() -> bytes:
        grid = replace(order.subsampled(apart, (0, 0, 0)), size=counts)
        determinant = jacobian_determinant(Transform(nodes.transpose(2, 1, 0, 3), grid).displacement_voxels())[
            0
        ].numpy()
        return _packed(log_jacobian_codes(determinant.T, registration.affine))

    return {
        **{f"displacement{axis}": partial(component, axis) for axis in range(3)},
        "jacobian": jacobian,
    }


def _three(numbers: Sequence[int]) -> Steps:
    x, y, z = numbers
    return x, y, z


def _label_maps(registration: Registration, order: Anatomical, steps: Steps) -> dict[str, NDArray[Any]]:
    """Of both scans, on the fixed scan's blocks: what is given of ``fixedLabels``, ``beforeLabels`` and ``afterLabels``."""
    given: dict[str, Image | None] = {
        "fixedLabels": registration.fixed_labels,
        "afterLabels": registration.moving_labels_warped,
    }
    maps = {name: _middles(order.turn(image.array), steps) for name, image in given.items() if image is not None}
    if registration.moving_labels is not None:
        grid = order.subsampled(steps, [step // 2 for step in steps])
        maps["beforeLabels"] = resample(
            registration.moving_labels, grid, registration.affine, nearest=True, outside=0
        ).array.T
    return maps


def _middles(array: NDArray[Any], steps: Steps) -> NDArray[Any]:
    """The voxel in the middle of each block, of an array (Z, Y, X, ...)."""
    x, y, z = steps
    depth, height, width = (n // step for n, step in zip(array.shape, (z, y, x), strict=False))
    return array[z // 2 :: z, y // 2 :: y, x // 2 :: x][:depth, :height, :width]


def _packed(array: NDArray[Any]) -> bytes:
    """Bytes of an array in its order, of two-byte numbers all low bytes before all high ones, deflated."""
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    flat = ordered.reshape(-1).view(np.uint8).reshape(-1, array.dtype.itemsize)
    return bytes(compress(flat.T.tobytes()))
