"""Follow-ups of one patient made from one scan: the patient has breathed, lies otherwise, and a lesion has grown.

What the follow-up shows at p is what the baseline shows at T(p) = R(p + d(p)): d the breathing, R how the patient lies. Points
are LPS mm.

- Breathing: what lies within the wall slides along it, up and down, by ``dome_mm`` above the diaphragm, by half of it there,
  and less and less below: d_z = dome_mm w(x, y) g(z), g(z) = 1 / (1 + exp((diaphragm_z - z) / falloff_mm)). w is 0 at bones and
  skin and 4 mm around, and 1 from ``slide_mm`` on, in every axial plane alike, so that J = 1 + dome_mm w g'(z) > 0.
- The front of the chest goes forward by ``front_mm``, less towards the spine: d_y = -front_mm g(z) r(y), r from 0 at the back
  to 1 at the front of the body. That is all that happens to ribs.
- R: degrees about the body's middle, and a shift.
- A sphere of another value than the tissue around it lies in the baseline, and at the same place in the follow-up a larger one.
- The follow-up has noise of its own.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.io import Image
from mics.organs import LIVER
from mics.registration.bones import bone_mask

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]

_BODY_HU = -110.0
_SEED = 0
_STILL_MM = 4.0
"""Around bones and under the skin, where what surrounds them lies as still as they do."""


@dataclass(frozen=True, eq=False)
class Breathing:
    """The displacement d of points, in mm. ``within`` (X, Y) is w on the axial planes of ``grid``, along the world's axes."""

    within: NDArray[np.float64]
    grid: Grid
    diaphragm_z: float
    front_y: float
    back_y: float
    dome_mm: float = 25.0
    falloff_mm: float = 30.0
    front_mm: float = 4.0

    @classmethod
    def of(
        cls, grid: Grid, body: Mask, bones: Mask, diaphragm_z: float, *, depth: float = 1.0, slide_mm: float = 16.0
    ) -> Self:
        """In a body with these bones, of which those that move with the breath lie at or above the diaphragm's lower half.

        ``depth`` of the breath, as a share of the usual one; 0 is held breath.
        """
        heights = grid.voxel_to_world([[0, 0, k] for k in range(grid.size[2])])[:, 2]
        area = body.sum(axis=(0, 1))
        # Planes beyond the scan's field of view, which are filled up with air, show no wall.
        moving = (np.abs(heights - diaphragm_z) < 90) & (area > area.max() / 2)
        wall = bones[:, :, moving].any(axis=2) | ~(body[:, :, moving].mean(axis=2) > 0.9)
        distance = ndimage.distance_transform_edt(~wall, grid.spacing[:2])
        share = np.clip((distance - _STILL_MM) / slide_mm, 0, 1)
        rows = np.flatnonzero(body[:, :, moving].mean(axis=(0, 2)) > 0.1)
        ends = grid.voxel_to_world([[0, int(row), 0] for row in (rows[0], rows[-1])])[:, 1]
        within = share * share * (3 - 2 * share)
        return cls(
            within,
            grid,
            diaphragm_z,
            front_y=float(ends.min()),
            back_y=float(ends.max()),
            dome_mm=depth * cls.dome_mm,
            front_mm=depth * cls.front_mm,
        )

    def height_share(self, z: Points) -> Points:
        """g(z)."""
        return 1 / (1 + np.exp((self.diaphragm_z - z) / self.falloff_mm))

    def __call__(self, points: Points) -> Points:
        """d at points (..., 3), mm."""
        x, y, z = np.moveaxis(points, -1, 0)
        planar = self.grid.world_to_voxel(np.stack([x, y, np.full_like(x, self.grid.origin[2])], axis=-1))
        inside = ndimage.map_coordinates(self.within, [planar[..., 0], planar[..., 1]], order=1, mode="nearest")
        forward = np.clip((self.back_y - y) / (self.back_y - self.front_y), 0, 1)
        share = self.height_share(z)
        return np.stack([np.zeros_like(x), -self.front_mm * share * forward, self.dome_mm * inside * share], axis=-1)


@dataclass(frozen=True, eq=False)
class FollowUp:
    """Baseline and follow-up with their lesions, and what is true of the follow-up: T on its grid, its body and its bones."""

    baseline: Image
    follow_up: Image
    baseline_lesion: Image
    follow_up_lesion: Image
    truth: Transform
    body: Mask
    bones: Mask


def lying(
    centre: Points, degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """R (4, 4): turns about the world's axes around ``centre``, then a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + shift_mm
    return matrix


def sphere(grid: Grid, centre: Points, radius_mm: float) -> Image:
    """A label map of one lesion."""
    within = ((grid.points() - centre) ** 2).sum(axis=-1) <= radius_mm**2
    return Image(within.astype(np.uint8), grid)


def with_sphere(image: Image, centre: Points, radius_mm: float, hu: float, *, edge_mm: float = 2.0) -> Image:
    """The scan with a ball of ``hu``, whose edge is blurred over ``edge_mm``."""
    distance = np.sqrt(((image.grid.points() - centre) ** 2).sum(axis=-1))
    share = np.clip((radius_mm - distance) / edge_mm + 0.5, 0, 1)
    return Image(((1 - share) * image.array + share * hu).astype(np.float32), image.grid)


def make(
    scan: Image,
    labels: Image,
    *,
    depth: float = 1.0,
    radius_mm: float = 10.0,
    grown_mm: float = 14.0,
    noise_hu: float = 15.0,
    degrees: tuple[float, float, float] = (2.0, 1.0, -3.0),
    shift_mm: tuple[float, float, float] = (8.0, -5.0, 12.0),
) -> FollowUp:
    """A follow-up of ``scan``, whose axes are the world's, with a lesion in the liver, after a breath of ``depth``."""
    grid = scan.grid
    body = _body(scan.array)
    bones = bone_mask(scan.array, grid.spacing[0], labels.array > 0)
    liver = labels.array == LIVER
    heights = grid.voxel_to_world(np.argwhere(liver))[:, 2]
    breathing = Breathing.of(grid, body, bones, diaphragm_z=float(np.percentile(heights, 80)), depth=depth)
    matrix = lying(grid.voxel_to_world(np.argwhere(body)).mean(axis=0), degrees, shift_mm)
    truth = of_map(grid, breathing, matrix)
    warped_liver = truth.transform_labels(Image(liver.astype(np.uint8), grid)).array > 0
    depth = ndimage.distance_transform_edt(warped_liver, grid.spacing)
    centre = grid.voxel_to_world(np.array(np.unravel_index(depth.argmax(), depth.shape), dtype=float))
    origin = truth.transform_points(centre[None])[0]
    hu = float(np.median(scan.array[liver])) - 60
    noise = np.random.default_rng(_SEED).normal(0, noise_hu, grid.size)
    seen = truth.transform_image(scan, outside=float(scan.array.min()))
    low, high = float(scan.array.min()), float(scan.array.max())
    grown = with_sphere(seen, centre, grown_mm, hu)
    seen_body, seen_bones = (
        truth.transform_labels(Image(mask.astype(np.uint8), grid)).array > 0 for mask in (body, bones)
    )
    return FollowUp(
        baseline=with_sphere(scan, origin, radius_mm, hu),
        follow_up=Image(np.clip(grown.array + noise, low, high).astype(np.float32), grid),
        baseline_lesion=sphere(grid, origin, radius_mm),
        follow_up_lesion=sphere(grid, centre, grown_mm),
        truth=truth,
        body=seen_body,
        bones=seen_bones,
    )


def of_map(grid: Grid, breathing: Breathing, matrix: NDArray[np.float64]) -> Transform:
    """T on ``grid``."""
    points = grid.points().astype(np.float64)
    moved = (points + breathing(points)) @ matrix[:3, :3].T + matrix[:3, 3]
    return Transform((moved - points).astype(np.float32), grid)


def _body(hu: NDArray[np.float32]) -> Mask:
    """The largest part that is no air, with what it encloses in each axial plane."""
    parts, count = ndimage.label(hu > _BODY_HU)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    largest = parts == sizes.argmax()
    return np.stack([ndimage.binary_fill_holes(plane) for plane in np.moveaxis(largest, 2, 0)], axis=2)
