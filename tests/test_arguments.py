"""Arguments of a wrong type or value are told in a sentence by every public function, not from inside it."""

import numpy as np
import pytest

import mics
from mics.data.pairs import ScanSource
from mics.image.points import write_points
from mics.network.kinds import build
from mics.network.mics import MICSConfig
from mics.network.weights import save_model

SIZE = (3, 4, 5)
GRID = mics.Grid(SIZE, (1, 1, 1), (0, 0, 0))
HU = np.arange(60, dtype=np.float32).reshape(SIZE) - 30
IMAGE = mics.Image(HU, GRID)
FIELD = np.zeros((*SIZE, 3), np.float32)
TRANSFORM = mics.Transform(FIELD, GRID)


def refused(call):
    with pytest.raises(mics.InputError) as caught:
        call()
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("size", [None, 5, "abc", (np.nan, 4, 5), (1.5, 4, 5), (3, 4), (0, 4, 5), (3 + 1j, 4, 5)])
def test_sizes(size):
    assert "grid" in refused(lambda: mics.Grid(size, (1, 1, 1), (0, 0, 0)))


@pytest.mark.parametrize(
    "array",
    [None, 5, HU.tolist(), HU.astype(complex), HU.astype(str), HU.astype(object), HU[None], np.ma.masked_less(HU, 0)],
)
def test_arrays(array):
    assert "volume" in refused(lambda: mics.Image(array, GRID)) or array.shape != SIZE


@pytest.mark.parametrize("array", [None, FIELD.tolist(), FIELD.astype(complex), FIELD.astype(str), FIELD[..., :2]])
def test_displacements(array):
    assert "displacement" in refused(lambda: mics.Transform(array, GRID))


@pytest.mark.parametrize("grid", [None, SIZE, "LPS"])
def test_grids(grid):
    for make in (
        lambda: mics.Image(HU, grid),
        lambda: mics.Transform(FIELD, grid),
        lambda: TRANSFORM.resampled(grid),
        lambda: mics.phantom(1, grid or 5),
    ):
        assert "Grid" in refused(make)


@pytest.mark.parametrize("image", [None, 5, "scan.nii.gz", HU])
def test_images(tmp_path, image):
    for use in (
        TRANSFORM.transform_image,
        TRANSFORM.transform_labels,
        lambda x: mics.write_image(x, tmp_path / "a.nii"),
    ):
        assert "is an Image, not " in refused(lambda use=use: use(image))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("points", [None, "x", [[1, 2]], [[1, 2, "a"]], [[1, 2, 3j]], [[1, 2, np.nan]], [[1, 2, None]]])
def test_points(points):
    assert "oints" in refused(lambda: TRANSFORM.transform_points(points))


@pytest.mark.parametrize("points", [None, 5, "x", [1, 2], [[1, 2]], [1, 2, "a"], [1, 2, 3j]])
def test_places(points):
    assert "Points are " in refused(lambda: GRID.voxel_to_world(points))
    assert "Points are " in refused(lambda: GRID.world_to_voxel(points))


@pytest.mark.parametrize("points", [None, [[1, 2, 3]], np.zeros((2, 3))])
def test_points_that_are_written(tmp_path, points):
    assert "What is written are Points, not " in refused(lambda: write_points(points, tmp_path / "a.csv"))
    assert not list(tmp_path.iterdir())


def test_models_that_are_saved(tmp_path):
    card = {"spacing_mm": 8.0, "hu_range": None}
    assert "network of" in refused(lambda: save_model(5, card, tmp_path / "a.safetensors"))
    network = build(MICSConfig(channels=(4, 8)))
    assert "ending in .safetensors" in refused(lambda: save_model(network, card, tmp_path / "a.json"))
    assert not list(tmp_path.iterdir())
    save_model(network, card, str(tmp_path / "a.safetensors"))
    assert mics.load_model(tmp_path / "a.safetensors").spacing_mm == 8.0


@pytest.mark.parametrize("outside", [None, "x", np.nan, 1j])
def test_values_outside(outside):
    assert "outside" in refused(lambda: TRANSFORM.transform_image(IMAGE, outside=outside))


@pytest.mark.parametrize("seed", [None, "x", 1.5, np.nan])
def test_seeds(seed):
    assert "seed" in refused(lambda: mics.phantom(seed))
    assert "seed" in refused(lambda: mics.phantom_pair(seed))


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        *(("steps", steps, "step") for steps in ("3", 1.5, np.nan, 0, -1, 10**21)),
        *(("device", device, "device") for device in (None, 5, b"cpu")),
        *(("affine", affine, "affine") for affine in (None, 5, np.eye(3))),
        *(("refine", refine, "refinement") for refine in (None, 5, [])),
        ("topology", {}, "topology"),
        ("progress", 5, "progress"),
        ("fixed_labels", HU, "fixed label map"),
        ("moving_exclude", HU, "moving mask"),
        ("model", None, "name"),
    ],
)
def test_settings_of_register(argument, value, message):
    assert message in refused(lambda: mics.register(IMAGE, IMAGE, **{argument: value}))


@pytest.mark.parametrize("scan", [None, 5, HU, b"scan.nii"])
def test_scans_of_register(scan):
    assert "The moving scan is a file, a DICOM folder or an Image, not " in refused(lambda: mics.register(IMAGE, scan))


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("atlases", 5, "The atlases are a folder"),
        ("atlases", [5], "The atlases are a folder"),
        ("fusion", [], "fusion"),
        ("refine", None, "refinement"),
        ("progress", 5, "progress"),
        ("label_names", {1: 5}, "no label"),
    ],
)
def test_settings_of_propagate(tmp_path, argument, value, message):
    settings = {"atlases": [ScanSource("one", lambda: IMAGE, lambda: IMAGE)], argument: value}
    assert message in refused(lambda: mics.propagate(IMAGE, output=tmp_path / "out", **settings))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("scans", None, "The scans of a group are a folder"),
        ("rounds", 1.5, "rounds"),
        ("spacing_mm", "2", "spacing_mm"),
        ("start", 5, "start"),
        ("progress", 5, "progress"),
        ("device", 5, "device"),
    ],
)
def test_settings_of_template(tmp_path, argument, value, message):
    settings = {"scans": [ScanSource(name, lambda: IMAGE, lambda: IMAGE) for name in "ab"], argument: value}
    assert message in refused(lambda: mics.template(output=tmp_path / "out", **settings))
    assert not list(tmp_path.iterdir())


def test_composing_with_something_else():
    assert "Transform" in refused(lambda: TRANSFORM.compose(FIELD))
