"""Follow-ups of one patient: how well, how stiffly and at what cost to a lesion's volume they are registered.

    python benchmarks/follow_up.py AbdomenCTCT -o follow-up              # goes on where it was stopped
    python benchmarks/follow_up.py AbdomenCTCT -o follow-up --scans 1 --methods "one patient" default
    python benchmarks/follow_up.py AbdomenCTCT -o held --breath 0        # of patients who hold their breath alike

The three validation scans, each with a follow-up that is made of it (made_follow_ups.py), which is the fixed scan. Greedy starts
from the rigid motion that ours starts from. Writes a file a scan and method, `SCAN/METHOD.json`, and prints the table of means.

TRE is taken every 4 mm in the body of the follow-up, beyond the lesions, where the baseline shows its counterpart. Bone is what
mics.registration.bones finds in the scan. Its rigidity: how far the derivative of the map is from its nearest rotation
(Frobenius), and what is left in mm of the displacement of 30 mm blocks of bone after the rigid motion that fits it best: blocks
within 40 mm of the spine are called vertebrae, the others ribs. The lesion: how many times its volume the baseline's lesion has
once it is brought to the follow-up, which kept is 1.
"""

import statistics
import time
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from kept_results import kept_rows, parser_with_folders
from made_follow_ups import FollowUp, make
from numpy.typing import NDArray
from scipy import ndimage

import mics
from mics.allocator import keep_freed_memory
from mics.data.pairs import ScanSource, read_pairs
from mics.deformation.jacobian import fold_share
from mics.deformation.transform import Transform
from mics.experiments.baselines import greedy
from mics.image.grid import Grid
from mics.image.io import Image
from mics.registration.affine import register_affine

_APART = 2
_BLOCK_MM, _SPINE_MM, _MIN_VOXELS = 30.0, 40.0, 60


def _rigid(case: FollowUp) -> Transform:
    matrix = register_affine(fixed=case.follow_up, moving=case.baseline, rigid=True)
    return affine_transform(case.follow_up.grid, matrix)


def _greedy(case: FollowUp) -> Transform:
    matrix = register_affine(fixed=case.follow_up, moving=case.baseline, rigid=True)
    outcome = greedy.register(case.follow_up, case.baseline, matrix)
    # Both scans lie on one grid.
    return Transform.from_voxels(torch.from_numpy(outcome.forward), case.follow_up.grid)


def _ours(**options: object) -> Callable[[FollowUp], Transform]:
    def run(case: FollowUp) -> Transform:
        lesions = {"fixed_lesions": case.follow_up_lesion, "moving_lesions": case.baseline_lesion}
        given = {**options, **(lesions if "lesions" in options else {})}
        return mics.register(case.follow_up, case.baseline, device="cpu", **given).moving_to_fixed  # type: ignore[arg-type]

    return run


METHODS: dict[str, Callable[[FollowUp], Transform]] = {
    "truth": lambda case: case.truth,
    "rigid alone": _rigid,
    "greedy": _greedy,
    "default": _ours(),
    "one patient": _ours(same_patient=True),
    "one patient, lesions kept": _ours(same_patient=True, lesions="keep"),
    "one patient, lesions excluded": _ours(same_patient=True, lesions="exclude"),
}


def affine_transform(grid: Grid, matrix: NDArray[np.float64]) -> Transform:
    """An affine between LPS points as a dense transform of ``grid``."""
    points = grid.points().astype(np.float64)
    return Transform((points @ matrix[:3, :3].T + matrix[:3, 3] - points).astype(np.float32), grid)


def measure(case: FollowUp, found: Transform) -> dict[str, float]:
    """One row; the transform lies on the follow-up's grid."""
    grid = found.grid
    lesion = case.follow_up_lesion.array > 0
    targets = case.truth.displacement_mm + grid.points()
    seen = case.baseline.grid.world_to_voxel(targets)
    in_view = ((seen >= 0) & (seen <= np.array(case.baseline.grid.size) - 1)).all(axis=-1)
    errors = np.linalg.norm(found.displacement_mm - case.truth.displacement_mm, axis=-1)
    counted = case.body & in_view & ~ndimage.binary_dilation(lesion, iterations=2)
    subsampled = (slice(None, None, _APART),) * 3
    tre = errors[subsampled][counted[subsampled]]
    bones = case.bones & in_view
    stretches = from_rotation(found, bones)
    vertebrae, ribs = rigid_residuals(found, bones)
    ball = Image((case.baseline_lesion.array > 0).astype(np.float32), case.baseline.grid)
    volume = found.transform_image(ball, outside=0).array.sum(dtype=np.float64) / ball.array.sum(dtype=np.float64)
    return {
        "tre": float(tre.mean()),
        "tre95": float(np.percentile(tre, 95)),
        "bone_tre": float(errors[bones].mean()),
        "from_rotation": float(stretches.mean()),
        "from_rotation95": float(np.percentile(stretches, 95)),
        "vertebrae_mm": vertebrae,
        "ribs_mm": ribs,
        "lesion": float(volume),
        "folds_percent": 100 * fold_share(found.displacement_voxels()),
    }


def from_rotation(transform: Transform, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far the derivative of the map is from the nearest rotation, (N,), Frobenius; central differences, axes of the world."""
    spacing = transform.grid.spacing
    columns = [np.gradient(transform.displacement_mm, step, axis=axis)[where] for axis, step in enumerate(spacing)]
    direction = np.array(transform.grid.direction).reshape(3, 3)
    derivative = np.stack(columns, axis=-1).astype(np.float64) @ direction.T + np.eye(3)
    stretches = np.linalg.svd(derivative, compute_uv=False)
    return np.asarray(np.linalg.norm(stretches - 1, axis=-1))


def rigid_residuals(transform: Transform, bones: NDArray[np.bool_]) -> tuple[float, float]:
    """Root mean square in mm of what rigid motions leave of blocks of bone: of vertebrae and of ribs."""
    voxels = np.argwhere(bones)
    points = transform.grid.voxel_to_world(voxels)
    moved = points + transform.displacement_mm[bones]
    middle = np.median(points[:, 0])
    behind = np.percentile(points[:, 1], 75)
    spine = (np.abs(points[:, 0] - middle) < _SPINE_MM) & (points[:, 1] > behind - 2 * _SPINE_MM)
    blocks = np.floor((points - points.min(axis=0)) / _BLOCK_MM).astype(int)
    blocks[spine, :2] = -1
    _, which = np.unique(blocks, axis=0, return_inverse=True)
    squares: dict[bool, list[float]] = {True: [], False: []}
    for block in range(which.max() + 1):
        own = which.ravel() == block
        if own.sum() >= _MIN_VOXELS:
            squares[bool(spine[own][0])] += left_by_rigid(points[own], moved[own]).tolist()
    vertebrae, ribs = (float(np.sqrt(np.mean(squares[kind]))) if squares[kind] else np.nan for kind in (True, False))
    return vertebrae, ribs


def left_by_rigid(points: NDArray[np.float64], moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances (N,) that the best rotation and shift leave (Kabsch 1976)."""
    start, end = points - points.mean(axis=0), moved - moved.mean(axis=0)
    u, _, v = np.linalg.svd(start.T @ end)
    signs = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    return np.asarray(((start @ u @ signs @ v - end) ** 2).sum(axis=1))


def made(member: ScanSource, depth: float) -> FollowUp:
    """The follow-up that is made of a scan."""
    return make(member.image(), member.labels(), depth=depth)


def timed(case: Callable[[], FollowUp], method: str) -> list[dict[str, float]]:
    """One row: a method's result on a follow-up, measured, and the processor's seconds that both took."""
    follow_up = case()
    start = time.process_time()
    measured = measure(follow_up, METHODS[method](follow_up))
    return [{**measured, "seconds": time.process_time() - start}]


def main() -> None:
    """Print a line a method."""
    parser = parser_with_folders(__doc__)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--scans", type=int, nargs="+", default=[1, 2, 3], help="which, from 1 (default: all)")
    parser.add_argument("--breath", type=float, default=1.0, help="its depth; a folder each (default: %(default)s)")
    options = parser.parse_args()
    keep_freed_memory()
    members = {
        member.name: member
        for pair in read_pairs(options.data, needs=("image", "labels"))
        for member in (pair.fixed, pair.moving)
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.methods}
    for number, (scan, member) in enumerate(sorted(members.items()), start=1):
        if number not in options.scans:
            continue
        case = cache(partial(made, member, options.breath))
        for name in options.methods:
            place = options.output / scan / f"{name.replace(' ', '-').replace(',', '')}.json"
            found[name] += kept_rows(place, name, partial(timed, case, name))
    print(
        "| | TRE, mm | 95 % | in bone | from a rotation | 95 % | vertebrae, mm | ribs, mm | lesion's volume, times | J ≤ 0, % "
        f"| s |\n{'|---' * 11}|"
    )
    for name, rows in found.items():
        mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        lesions = [row["lesion"] for row in rows]
        print(
            f"| {name} | {mean['tre']:.2f} | {mean['tre95']:.2f} | {mean['bone_tre']:.2f} | {mean['from_rotation']:.3f} "
            f"| {mean['from_rotation95']:.3f} | {mean['vertebrae_mm']:.2f} | {mean['ribs_mm']:.2f} "
            f"| {min(lesions):.2f} to {max(lesions):.2f} | {mean['folds_percent']:.5f} | {mean['seconds']:.0f} |"
        )


if __name__ == "__main__":
    main()
