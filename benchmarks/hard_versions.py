"""Hard versions of a scan, as other scanners, protocols and patients on the table make them.

Each function takes a scan with its label map and gives both back; none is random from call to call. Volumes are (X, Y, Z) HU
and organ ids on one grid whose geometry stays true: the voxels of all versions but :func:`shifted` and :func:`rolled` show
their tissue where it was in the world. Scans whose HU are clipped stay within their range.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mics import organs
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.resample import resample

UNENHANCED_HU = {
    organs.SPLEEN: 48.0,
    organs.RIGHT_KIDNEY: 32.0,
    organs.LEFT_KIDNEY: 32.0,
    organs.LIVER: 55.0,
    organs.AORTA: 40.0,
    organs.INFERIOR_VENA_CAVA: 40.0,
    organs.PORTAL_AND_SPLENIC_VEIN: 40.0,
    organs.PANCREAS: 40.0,
    organs.RIGHT_ADRENAL: 28.0,
    organs.LEFT_ADRENAL: 28.0,
}
"""What an adult's organs measure without contrast medium. Stomach, oesophagus and gallbladder keep what is in them."""

_BORDER_MM = 1.5
"""Standard deviation of the blur that makes an organ's border in a scan."""
_HIGH_PASS_MM, _NOISE_MM = 4.0, 1.2
_SEED = 0


@dataclass(frozen=True)
class Scan:
    """A scan and its organ labels, on one grid."""

    image: Image
    labels: Image


def without_contrast(scan: Scan) -> Scan:
    """Every enhanced organ lowered by what its median is above :data:`UNENHANCED_HU`.

    The texture stays, and the border is lowered by the organ's share of the voxel: by the smoothed label. An organ that is not
    above its level stays. Enhanced vessels without a label (heart, iliac, renal and mesenteric vessels) stay bright.
    """
    hu, labels = scan.image.array, scan.labels.array
    fall = np.zeros(hu.shape, dtype=np.float32)
    for organ, level in UNENHANCED_HU.items():
        where = labels == organ
        if where.any():
            fall[where] = max(float(np.median(hu[where])) - level, 0.0)
    fall = ndimage.gaussian_filter(fall, [_BORDER_MM / spacing for spacing in scan.image.grid.spacing])
    return dataclasses.replace(scan, image=_within(scan.image, hu - fall))


def thick_slices(scan: Scan, thickness_mm: float = 5.0) -> Scan:
    """Slices of ``thickness_mm`` without gaps, from the first voxel's outer face on; a rest too thin for a slice is cut off.

    A voxel counts by how much of it lies in the slice. A slice's labels are those at its middle. Raises InputError where not one
    slice fits.
    """
    axis, grid = body_axis(scan.image.grid), scan.image.grid
    step, length = grid.spacing[axis], grid.size[axis]
    count = math.floor(length * step / thickness_mm + 1e-6)
    if count < 1:
        raise InputError(f"A scan of {length * step:g} mm has no slice of {thickness_mm:g} mm; give a longer one.")
    faces = np.arange(length + 1) * step
    first = np.arange(count)[:, None] * thickness_mm
    overlap = np.minimum(faces[None, 1:], first + thickness_mm) - np.maximum(faces[None, :-1], first)
    weights = np.clip(overlap, 0, None) / thickness_mm
    averaged = np.moveaxis(np.tensordot(weights.astype(np.float32), scan.image.array, axes=(1, axis)), 0, axis)
    middle = np.zeros(3)
    middle[axis] = (thickness_mm / step - 1) / 2
    thick = _resized(grid, axis, count, origin=grid.voxel_to_world(middle), spacing=thickness_mm)
    labels = resample(scan.labels, thick, nearest=True, outside=0)
    return Scan(Image(np.ascontiguousarray(averaged, dtype=np.float32), thick), labels)


def upper_part(scan: Scan, share: float = 0.6, whole: float = 0.8) -> Scan:
    """A scan that ends within the abdomen, as one of the liver does: the upper ``share`` of the labelled region, and all above.

    Of an organ that is cut off, a registration may match the rest to the whole, and gain Dice by what is wrong: organs of which
    less than ``whole`` is left lose their label, so that they are not counted. Raises InputError without any label.
    """
    axis, grid, labels = body_axis(scan.image.grid), scan.image.grid, scan.labels.array
    shown = np.nonzero((labels > 0).any(axis=tuple(other for other in range(3) if other != axis)))[0]
    if not shown.size:
        raise InputError("A scan is cut by its labelled region, and this one has no label; give its label map.")
    kept = math.ceil(share * (shown[-1] + 1 - shown[0]))
    upwards = grid.orientation[axis] == "S"
    part = slice(int(shown[-1]) + 1 - kept, None) if upwards else slice(0, int(shown[0]) + kept)
    box = tuple(part if other == axis else slice(None) for other in range(3))
    left = labels[box].copy()
    for organ in np.unique(left[left > 0]):
        if np.count_nonzero(left == organ) < whole * np.count_nonzero(labels == organ):
            left[left == organ] = 0
    corner = np.zeros(3)
    corner[axis] = part.start
    cropped = _resized(grid, axis, left.shape[axis], origin=grid.voxel_to_world(corner), spacing=grid.spacing[axis])
    return Scan(Image(scan.image.array[box].copy(), cropped), Image(left, cropped))


def noisier(scan: Scan, times: float = 2.0) -> Scan:
    """``times`` the standard deviation of the noise in the liver, as from ``1 / times**2`` of the dose.

    The noise added is Gaussian, correlated over a little more than a millimetre as filtered backprojection leaves it, and
    independent of the scan's own, so that variances add. Voxels at the ends of the scan's range, where a clipped scan shows
    no noise either (air, bone), stay. Raises InputError without a liver.
    """
    grid, hu = scan.image.grid, scan.image.array
    liver = liver_interior(scan)
    noise = np.random.default_rng(_SEED).standard_normal(hu.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, [_NOISE_MM / spacing for spacing in grid.spacing])
    # Measured by the same means, whatever these see of noise of this correlation.
    wanted = math.sqrt(times**2 - 1) * noise_hu(hu, grid, liver) / noise_hu(noise, grid, liver)
    free = (hu > hu.min()) & (hu < hu.max())
    return dataclasses.replace(scan, image=_within(scan.image, np.where(free, hu + np.float32(wanted) * noise, hu)))


def sharper(scan: Scan, amount: float = 1.5, width_mm: float = 2.0) -> Scan:
    """A sharp reconstruction kernel: in each slice ``amount`` times what a Gaussian of ``width_mm`` takes away, added."""
    grid, hu = scan.image.grid, scan.image.array
    axis = body_axis(grid)
    sigma = [0.0 if other == axis else width_mm / spacing for other, spacing in enumerate(grid.spacing)]
    blurred = ndimage.gaussian_filter(hu, sigma)
    return dataclasses.replace(scan, image=_within(scan.image, hu + amount * (hu - blurred)))


def shifted(scan: Scan, distance_mm: float = 40.0) -> Scan:
    """The patient elsewhere on the table: ``distance_mm`` half to the left and half upwards in the world, along x + z."""
    offset = distance_mm * np.array([1.0, 0.0, 1.0]) / math.sqrt(2)
    return moved(scan, np.eye(3), offset)


def rolled(scan: Scan, degrees: float = 15.0) -> Scan:
    """The patient rolled about the body axis, through the middle of the scan; from x (left) towards y (posterior).

    The voxels stay and their grid turns with the patient, so that the header is oblique.
    """
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    centre = scan.image.grid.centre
    return moved(scan, rotation, centre - rotation @ centre)


HARD_VERSIONS: dict[str, Callable[[Scan], Scan]] = {
    "plain": lambda scan: scan,
    "without contrast medium": without_contrast,
    "5 mm slices": thick_slices,
    "upper part only": upper_part,
    "double noise": noisier,
    "sharp kernel": sharper,
    "shifted 40 mm": shifted,
    "rolled 15 degrees": rolled,
}
"""By the name of the condition, in the order of the table."""


def body_axis(grid: Grid) -> int:
    """The array axis that runs along the body."""
    return next(axis for axis, letter in enumerate(grid.orientation) if letter in "SI")


def liver_interior(scan: Scan) -> NDArray[np.bool_]:
    """The liver without its outermost two voxels, or all of it where that leaves nothing; InputError where there is none."""
    liver = scan.labels.array == organs.LIVER
    if not liver.any():
        raise InputError("The noise is measured in the liver, which the label map does not show; give one that does.")
    inner = ndimage.binary_erosion(liver, iterations=2)
    return np.asarray(inner if inner.any() else liver)


def noise_hu(hu: NDArray[np.floating], grid: Grid, where: NDArray[np.bool_]) -> float:
    """Standard deviation of what a Gaussian of 4 mm leaves ``where``, by the median absolute deviation: vessels do not count."""
    fine = hu - ndimage.gaussian_filter(hu, [_HIGH_PASS_MM / spacing for spacing in grid.spacing])
    values = fine[where]
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _within(image: Image, hu: NDArray[np.floating]) -> Image:
    """The new values, held to the range of the old."""
    return Image(np.clip(hu, image.array.min(), image.array.max()).astype(np.float32), image.grid)


def _resized(grid: Grid, axis: int, length: int, *, origin: NDArray[np.float64], spacing: float) -> Grid:
    size, spacings = list(grid.size), list(grid.spacing)
    size[axis], spacings[axis] = length, spacing
    return Grid(tuple(size), tuple(spacings), tuple(origin), grid.direction)  # type: ignore[arg-type]


def moved(scan: Scan, rotation: NDArray[np.float64], offset: NDArray[np.float64]) -> Scan:
    """The same voxels, the world's point x now at ``rotation @ x + offset``."""
    grid = scan.image.grid
    direction = rotation @ np.reshape(grid.direction, (3, 3))
    moved = dataclasses.replace(
        grid, origin=tuple(rotation @ np.array(grid.origin) + offset), direction=tuple(direction.ravel())
    )
    return Scan(Image(scan.image.array, moved), Image(scan.labels.array, moved))
