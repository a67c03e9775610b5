"""What several test modules share: grids as they occur in hospitals, smooth volumes, and the real scans."""

import importlib.util
import locale
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from mics.image.grid import Grid
from mics.image.io import Image

_TILT = Rotation.from_euler("xyz", [12, -7, 25], degrees=True).as_matrix()
_TURN = Rotation.from_euler("xyz", [-30, 160, 5], degrees=True).as_matrix()


def _centred(
    size: tuple[int, int, int], spacing: tuple[float, float, float], axes: list[list[int]] | np.ndarray
) -> Grid:
    """A grid whose middle is 24 mm above the origin."""
    axes = np.array(axes, dtype=float)
    origin = np.array([1.0, 2.0, 24.0]) - axes @ ((np.array(size) - 1) / 2 * spacing)
    return Grid(size, spacing, tuple(origin), tuple(axes.ravel()))


GRIDS = {
    "lps": _centred((22, 20, 16), (2.0, 2.0, 2.5), np.eye(3)),
    "ras": _centred((22, 20, 16), (2.0, 2.0, 2.5), np.diag([-1, -1, 1])),
    "anisotropic": _centred((30, 26, 9), (1.5, 1.5, 5.0), np.eye(3)),
    "permuted": _centred((16, 22, 20), (2.5, 2.0, 2.0), [[0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
    "oblique": _centred((24, 20, 15), (1.9, 2.1, 3.0), _TILT),
    "left_handed": _centred((22, 20, 16), (2.0, 2.0, 2.5), np.diag([-1, 1, 1])),
    "oblique_left_handed": _centred((22, 21, 15), (2.0, 2.2, 2.8), _TURN @ np.diag([1, -1, 1])),
}
"""Grids over about the same 40 mm of the patient, in each kind of orientation that a file can have."""


_CHARACTERS = locale.setlocale(locale.LC_CTYPE)


_SLOW = frozenset(Path(__file__).with_name("slow.txt").read_text(encoding="utf-8").split())
"""Folders, files, and tests with all their cases."""


def _named_slow(path: Path, root: Path) -> bool:
    """Whether `slow.txt` names the file, or a folder that it lies in."""
    inside = path.relative_to(root)
    return any(place.as_posix() in _SLOW for place in (inside, *inside.parents))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files of slow tests alone where slow ones are not asked for: what they import takes seconds."""
    left_out = "not slow" in config.option.markexpr and _named_slow(collection_path, config.rootpath)
    return True if left_out else None


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what `slow.txt` names."""
    for item in items:
        test = f"{item.path.relative_to(config.rootpath).as_posix()}::{item.name.partition('[')[0]}"
        if test in _SLOW or _named_slow(item.path, config.rootpath):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def characters_as_at_the_start() -> Iterator[None]:
    """Writing DICOM makes "C" the locale of the process, in which Python takes files without a stated encoding for ASCII."""
    yield
    locale.setlocale(locale.LC_CTYPE, _CHARACTERS)


@pytest.fixture(params=GRIDS)
def grid(request: pytest.FixtureRequest) -> Grid:
    """Each of the grids in turn."""
    return GRIDS[request.param]


@pytest.fixture
def grids() -> dict[str, Grid]:
    """All the grids by name."""
    return GRIDS


@pytest.fixture
def smooth_image() -> Callable[..., Image]:
    """Make a smooth random volume of a few hundred HU on a grid."""

    def make(grid: Grid, seed: int = 0) -> Image:
        noise = gaussian_filter(np.random.default_rng(seed).normal(size=grid.size), 2)
        return Image((300 * noise / np.abs(noise).max() - 20).astype(np.float32), grid)

    return make


def _module(path: Path) -> ModuleType:
    """A file of Python that lies in no package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def benchmark_script() -> Callable[[str], ModuleType]:
    """`benchmark_script(name)`: the script of that name in `benchmarks/`, as a module."""
    return lambda name: _module(Path(__file__).parents[1] / "benchmarks" / f"{name}.py")


@pytest.fixture(scope="session")
def _pretended() -> ModuleType:
    """`pretended_device.py`, which makes its device known to torch once a process."""
    return _module(Path(__file__).with_name("pretended_device.py"))


@pytest.fixture
def pretended_device(_pretended):
    """A device that refuses what CUDA refuses, and computes on the CPU; there is no need of a GPU."""
    if not _pretended.AVAILABLE:
        pytest.skip("this torch takes no backend that is written in Python: 2.10 or later does")
    with _pretended.pretended_device() as device:
        yield device


@pytest.fixture(scope="session")
def publishers(benchmark_script: Callable[[str], ModuleType]) -> ModuleType:
    """The benchmark that writes generated subjects into folders laid out as each cohort's publisher does."""
    return benchmark_script("generated_cohorts")


@pytest.fixture(scope="session")
def published(publishers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`published(cohort)`: the folder (of nnunet the YAML file) of two generated subjects at 8 mm, written once; read only."""
    places: dict[str, Path] = {}

    def write(cohort: str) -> Path:
        if cohort not in places:
            places[cohort] = publishers.WRITERS[cohort](tmp_path_factory.mktemp(cohort), 2, 8.0)
        return places[cohort]

    return write


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CT, outside the repository: MICS_REAL_DATA, or shared/data beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MICS_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip("no real CT at hand: set MICS_REAL_DATA to its folder")
    return folder


@pytest.fixture
def full_summary():
    """A registration's summary with everything that its page shows, of a pair with the labels 1 and 2."""
    grid = Grid((4, 5, 6), (1, 1, 2), (0, 0, 0)).to_dict()
    scan = {"labels": None, "exclude": None, "grid": grid}
    scores = {"dice": {"1": 0.9, "2": 0.7}, "hd95_mm": {"1": 4.0, "2": None}, "mda_mm": {"1": 1.0, "2": None}}
    before = {f"{name}_affine_only": {"1": 0.25, "2": 0.5} for name in scores}
    mean = {"mean_dice": 0.8, "mean_dice_affine_only": 0.375, "worst_label": "2"}
    both = {"moving_to_fixed": 0.0, "fixed_to_moving": 0.0005}
    view = {"moving_share": 0.9, "fixed_share": 1.0, "shared_by_both": 0.9}
    model = {"name": "mics-velocity", "sha256": "0123abcd", "spacing_mm": 8.0}
    organ = {"fixed_ml": 160.0, "moving_ml": 180.0, "dice_affine": 0.4, "dice_result": None}
    return {
        "mics_version": "0.1.0",
        "finished": "2031-05-17T08:09:10+00:00",
        "inputs": {
            "fixed": {"path": "/ward/secret-folder/fixed.nii.gz", **scan},
            "moving": {"path": "/ward/secret-folder/moving.nii.gz", **scan},
        },
        "settings": {
            "affine": "/ward/secret-folder/start.tfm",
            "steps": 1,
            "refine": "fast",
            "topology": "free",
            "device": "cpu",
            "model": model,
            "segmentation_model": None,
        },
        "verdict": {
            "word": "look",
            "reasons": [
                "The inverse-consistency error is up to 12.0 mm: there and back, a point misses itself by that."
            ],
        },
        "geometry": {
            "affine_fixed_to_moving_lps_mm": np.eye(4).tolist(),
            "network_grid": grid,
            "field_of_view": view,
        },
        "folds": {**both, "network_grid_moving_to_fixed": 0.5, "network_grid_fixed_to_moving": 0.5},
        "jacobian": {direction: {"min": 0.1, "max": 4.0} for direction in both},
        "inverse_consistency_mm": {direction: {"mean": 0.5, "max": 12.0} for direction in both},
        "labels": {direction: {**scores, **before, **mean} for direction in both},
        "label_names": {"1": "liver"},
        "landmarks": {
            "count": 3,
            "tre_mm": {"mean": 2.0, "max": 4.0},
            "tre_mm_affine_only": {"mean": 8.0, "max": 9.0},
        },
        "evidence": {
            "organs": {"spleen": organ},
            "organ_overlap": {"affine": 0.4, "result": 0.9},
            "similarity": {"affine": None, "result": 0.85},
        },
        "seconds": {"read": 1.0, "total": 33.3},
        "warnings": ["/ward/secret-folder/fixed.nii.gz is mirrored."],
    }
