"""A made-up patient whose HU is a formula of the place in the world, seen by scanners of any geometry."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from mics.deformation.transform import Transform
from mics.image.grid import Grid, apply_matrix
from mics.image.io import Image
from mics.network.mics import MICS, MICSConfig
from mics.network.segmentation import OrganSegmentation, OrganSegmentationConfig
from mics.network.weights import save_model

LIVER, SPLEEN, KIDNEY = 6, 1, 2

# Centre and radii in LPS mm.
_BODY = ((0.0, 10.0, 0.0), (150.0, 105.0, 400.0))
_ORGANS = {
    LIVER: ((-70.0, -5.0, 20.0), (55.0, 60.0, 65.0), 110.0),
    SPLEEN: ((85.0, 35.0, 40.0), (28.0, 32.0, 40.0), 130.0),
    KIDNEY: ((-55.0, 60.0, -50.0), (25.0, 22.0, 45.0), 180.0),
}
_SPINE = ((0.0, 80.0), 20.0, 350.0)


def _within(points, centre, radii):
    return (((points - centre) / radii) ** 2).sum(axis=-1)


def hu_at(points):
    """HU of the patient at LPS points (..., 3); lungs above, pelvis-like bone below."""
    hu = np.full(points.shape[:-1], -1000.0)
    body = _within(points, *_BODY)
    hu[body < 1] = -90 + 20 * np.sin(points[body < 1, 2] / 40)
    hu[body < 0.75] = 45
    lungs = (body < 0.7) & (points[..., 2] > 95 + 15 * np.cos(points[..., 0] / 40))
    hu[lungs] = -820
    hips = (body < 0.75) & (points[..., 2] < -120) & (np.abs(np.abs(points[..., 0]) - 80) < 25)
    hu[hips] = 400
    for centre, radii, value in _ORGANS.values():
        hu[_within(points, centre, radii) < 1] = value
    hu[np.hypot(points[..., 0] - _SPINE[0][0], points[..., 1] - _SPINE[0][1]) < _SPINE[1]] = _SPINE[2]
    return hu.astype(np.float32)


def labels_at(points):
    """Label at LPS points (..., 3)."""
    labels = np.zeros(points.shape[:-1], dtype=np.uint8)
    for label, (centre, radii, _) in _ORGANS.items():
        labels[_within(points, centre, radii) < 1] = label
    return labels


def _seen(formula, grid, to_patient):
    points = grid.points().astype(np.float64)
    if to_patient is None:
        return Image(formula(points), grid)
    return Image(formula(to_patient(points) if callable(to_patient) else apply_matrix(to_patient, points)), grid)


@pytest.fixture(scope="session")
def scan():
    """`scan(grid, to_patient=None)`: the patient on a grid, whose points `to_patient` takes to the patient.

    `to_patient` is an affine (4, 4) or a function of points.
    """
    return lambda grid, to_patient=None: _seen(hu_at, grid, to_patient)


@pytest.fixture(scope="session")
def label_map():
    """Like `scan`, the labels."""
    return lambda grid, to_patient=None: _seen(labels_at, grid, to_patient)


def rotation(degrees, axis):
    """Turn (3, 3) about a world axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [k for k in range(3) if k != axis]
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def _oblique(size, spacing, centre, degrees=(0.0, 0.0, 0.0), flips=(1, 1, 1), order=(0, 1, 2)):
    """A grid around `centre` (LPS mm) whose axes are turned, flipped and permuted."""
    axes = np.eye(3)
    for axis, angle in enumerate(degrees):
        axes = rotation(angle, axis) @ axes
    axes = (axes * flips)[:, order]
    origin = np.asarray(centre) - (axes * spacing) @ ((np.array(size) - 1) / 2)
    return Grid(tuple(size), tuple(spacing), tuple(origin.tolist()), tuple(axes.ravel().tolist()))


@pytest.fixture(scope="session")
def oblique():
    """`oblique(size, spacing, centre, degrees, flips, order)` makes an oblique grid."""
    return _oblique


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A registration network small enough for a test; its weights are random, its displacements centimetres."""
    torch.manual_seed(0)
    config = MICSConfig(channels=(4, 8), stride=2, decoder_normalisation=False)
    network = MICS(config)
    torch.nn.init.normal_(network.gradient_head.weight, std=0.2)
    torch.nn.init.normal_(network.offset_head.weight, std=0.5)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(network, {"spacing_mm": 8.0, "hu_range": [-125, 275], "steps": 2}, path)
    return path


@pytest.fixture(scope="session")
def tiny_organ_model(tmp_path_factory) -> Path:
    """The same kind of network, seeing organ maps."""
    torch.manual_seed(2)
    config = MICSConfig(channels=(4, 8), stride=2, decoder_normalisation=False, organ_maps=True)
    path = tmp_path_factory.mktemp("model") / "tiny-organ-maps.safetensors"
    save_model(MICS(config), {"spacing_mm": 8.0, "hu_range": [-125, 275], "steps": 2}, path)
    return path


@pytest.fixture(scope="session")
def tiny_segmentation(tmp_path_factory) -> Path:
    """A segmentation network small enough for a test, with random weights."""
    torch.manual_seed(1)
    config = OrganSegmentationConfig(channels=(4, 8), stride=2, organs=13)
    path = tmp_path_factory.mktemp("model") / "tiny-organs.safetensors"
    save_model(OrganSegmentation(config), {"spacing_mm": 10.0, "hu_range": [-125, 275]}, path)
    return path


# Fixed to moving: x comes from AFFINE(x + u(x)), with u a bump of some millimetres.
AFFINE = np.array([[1.08, 0.06, 0, 30.0], [-0.05, 0.95, 0.02, -45.0], [0, -0.03, 1.04, 40.0], [0, 0, 0, 1]])
BUMP, CENTRE, WIDTH = np.array([9.0, -7.0, 6.0]), np.array([-60.0, 50.0, -30.0]), 60.0
# Half a slice is no whole number of millimetres: the network's samples, 2 mm apart, never lie on the scan's very face,
# where rounding alone tells whether they are within.
FIXED = Grid.axis_aligned((-170, -70, -150), (125, 185, 75), (5, 5, 5.5), "RAS")


def u(points):
    return BUMP * np.exp(-(((points - CENTRE) / WIDTH) ** 2).sum(axis=-1, keepdims=True))


def inverse_of_u(points):
    inverse = -u(points)
    for _ in range(30):
        inverse = -u(points + inverse)
    return inverse


def true_map(points):
    """From the fixed to the moving world."""
    return apply_matrix(AFFINE, points + u(points))


@pytest.fixture(scope="session")
def moving_grid(oblique):
    return oblique((80, 60, 50), (5, 5, 5), apply_matrix(AFFINE, FIXED.centre), (6, -3, 10), (-1, 1, 1), (0, 2, 1))


@pytest.fixture(scope="session")
def patients(scan, label_map, moving_grid):
    """The arguments of `register`: the fixed scan is what the moving patient looks like after the known map."""
    return {
        "fixed": scan(FIXED, true_map),
        "moving": scan(moving_grid),
        "fixed_labels": label_map(FIXED, true_map),
        "moving_labels": label_map(moving_grid),
    }


@pytest.fixture(scope="session")
def affine_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("affine") / "affine.tfm"
    sitk.WriteTransform(sitk.AffineTransform(AFFINE[:3, :3].ravel().tolist(), AFFINE[:3, 3].tolist()), str(path))
    return path


@pytest.fixture(scope="session")
def options(affine_file, tiny_model):
    return {"affine": affine_file, "model": tiny_model, "refine": "none", "device": "cpu"}


def known_displacements(state):
    """What a stage that knew `u` would find, by direction: as `State.with_displacements` takes them."""
    to_fixed, points = state.to_scans.fixed, state.grid.points().astype(float)
    there = apply_matrix(to_fixed, points)
    found = {}
    for name, function in (("moving_to_fixed", u), ("fixed_to_moving", inverse_of_u)):
        displacement = apply_matrix(np.linalg.inv(to_fixed), there + function(there)) - points
        found[name] = Transform(displacement.astype(np.float32), state.grid).displacement_voxels()
    return found


@pytest.fixture(scope="session")
def known_map():
    """The map between the scans of `patients`: `to_moving` takes points of the fixed one, on `grid`, by `u`, then `affine`."""
    return SimpleNamespace(grid=FIXED, affine=AFFINE, u=u, to_moving=true_map, displacements=known_displacements)


@pytest.fixture(scope="session")
def two_things():
    """`two_things(grid, shift)`: a body with a spine and two things in it, labelled 3 and 8 and moved by `shift`, LPS mm."""

    def made(grid, shift=(0, 0, 0)):
        points = grid.points().astype(float)
        body = (points[..., 0] / 90) ** 2 + (points[..., 1] / 70) ** 2 < 1
        hu = np.where(body, 40 + np.random.default_rng(0).normal(0, 20, grid.size), -1000)
        labels = np.zeros(grid.size, np.uint8)
        for label, middle in ((3, (-35, 0, 0)), (8, (35, 10, 20))):
            own = np.linalg.norm(points - np.add(middle, shift), axis=-1) < 20
            hu[own], labels[own] = 90, label
        hu[np.hypot(points[..., 0], points[..., 1] - 50) < 12] = 400
        return Image(hu.astype(np.float32), grid), Image(labels, grid)

    return made


@pytest.fixture(scope="module")
def scans(request, two_things):
    """Two such scans on the module's GRID, the things 10 mm apart, and their label maps as `register` takes them."""
    (fixed, fixed_labels), (moving, moving_labels) = (two_things(request.module.GRID, (x, 0, 0)) for x in (0, 10))
    labels = {"fixed_labels": fixed_labels, "moving_labels": moving_labels}
    return SimpleNamespace(fixed=fixed, moving=moving, labels=labels)
