import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mics.errors import InputError
from mics.image.grid import Grid
from mics.registration import memory
from mics.registration.half_way import half_way
from mics.registration.memory import estimate, require_memory
from mics.registration.network_grid import network_grid
from mics.registration.pair import Pair
from mics.registration.settings import resolve
from mics.registration.stages.network_prediction import NetworkPrediction
from mics.registration.steering import Steering

NATIVE = Grid((512, 512, 150), (0.8, 0.8, 2.0), (0.0, 0.0, 0.0))
GB = 1e9


@pytest.fixture
def settings(tiny_model):
    """Without refinement, on the CPU."""
    return resolve(affine="none", steps=None, model=tiny_model, refine="none", topology="free", device="cpu")


@pytest.fixture
def refining(settings):
    """With an affine that is not known yet."""
    return dataclasses.replace(settings, affine=None, refine="fast", segmentation=settings.model)


def finer(settings, spacing_mm):
    """The same with a model of smaller voxels."""
    card = settings.card.model_copy(update={"spacing_mm": spacing_mm})
    return dataclasses.replace(settings, card=card, model=dataclasses.replace(settings.model, card=card))


def test_native_scans_fit_into_eight_gigabytes(refining):
    assert 2 * GB < estimate(refining, fixed=NATIVE, moving=NATIVE).host < 8 * GB


def test_finer_models_larger_scans_and_refinement_need_more(settings, refining):
    need = estimate(settings, fixed=NATIVE, moving=NATIVE)
    twice = Grid((512, 512, 300), (0.8, 0.8, 1.0), (0.0, 0.0, 0.0))
    assert estimate(settings, fixed=twice, moving=NATIVE).host > need.host
    assert estimate(finer(settings, 0.5), fixed=NATIVE, moving=NATIVE).host > need.host
    on_gpu = [dataclasses.replace(s, device=torch.device("cuda:0")) for s in (settings, refining)]
    assert estimate(on_gpu[0], fixed=NATIVE, moving=NATIVE).gpu < estimate(on_gpu[1], fixed=NATIVE, moving=NATIVE).gpu


def grid_of(extent_mm, centre=(0, 0, 0)):
    """Voxels of 4 mm around a place."""
    x, y, z = (round(mm / 4) for mm in extent_mm)
    origin = tuple(middle - 2 * (count - 1) for middle, count in zip(centre, (x, y, z), strict=True))
    return Grid((x, y, z), (4.0,) * 3, origin)


def affine_of(degrees, shift=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


@pytest.fixture
def seen(monkeypatch):
    """The grids by which the stages tell their need."""
    grids = []
    monkeypatch.setattr(NetworkPrediction, "memory", lambda self, grid, device: grids.append(grid) or 1.0)
    return grids


@pytest.mark.parametrize("degrees", [(0, 0, 15), (0, 0, -15), (15, 0, 0), (0, 12, 0)])
@pytest.mark.parametrize("shift", [(0, 0, 0), (30, 0, -40), (0, 20, 90)])
@pytest.mark.parametrize("moving", [(352, 352, 400), (500, 500, 800), (352, 260, 200)])
def test_no_grid_is_larger_than_foreseen_before_the_affine_is_known(settings, seen, degrees, shift, moving):
    fixed, moving, affine = grid_of((352, 352, 400)), grid_of(moving, shift), affine_of(degrees, shift)
    estimate(dataclasses.replace(settings, affine=None), fixed=fixed, moving=moving)
    used = network_grid(fixed=fixed, moving=moving, to_scans=half_way(affine), spacing_mm=settings.card.spacing_mm)
    assert math.prod(used.size) <= math.prod(seen[0].size)


@pytest.mark.parametrize("rolls", [(10, 10), (40, 40), (-35, 0), (30, None), (None, -20)])
@pytest.mark.parametrize("moving", [(352, 352, 400), (500, 500, 800), (352, 260, 200)])
@pytest.mark.parametrize("known", [True, False])
def test_no_grid_of_patients_who_lie_rolled_is_larger_than_foreseen(settings, seen, rolls, moving, known):
    fixed, moving = grid_of((352, 352, 400)), grid_of(moving)
    left, other = (None if roll is None else affine_of((0, 0, roll))[:3, 0] for roll in rolls)
    lefts = Pair(fixed=left, moving=other)
    affine = np.eye(4) if None in rolls else affine_of((0, 0, rolls[1] - rolls[0]))
    estimate(dataclasses.replace(settings, affine=affine if known else None), fixed=fixed, moving=moving, lefts=lefts)
    to_scans = half_way(affine, lefts)
    used = network_grid(fixed=fixed, moving=moving, to_scans=to_scans, spacing_mm=settings.card.spacing_mm)
    assert math.prod(used.size) <= math.prod(seen[0].size)
    assert used.size == seen[0].size or not known


def test_of_a_known_affine_the_grid_itself_is_meant(settings, seen):
    """Scans of 352 mm in each direction, turned by 40 degrees: both by 20, in even numbers of voxels from face to face."""
    scan = grid_of((352, 352, 352))
    known = dataclasses.replace(settings, affine=affine_of((0, 0, 40)))
    estimate(known, fixed=scan, moving=scan)
    turned = 352 * (math.cos(math.radians(20)) + math.sin(math.radians(20)))
    assert seen[0].size == tuple(2 * math.ceil((extent / 8 + 1) / 2) for extent in (turned, turned, 352))


def test_scans_that_a_known_affine_leaves_apart_are_told_before_the_work(settings):
    apart = dataclasses.replace(settings, affine=affine_of((0, 0, 0), (0, 0, 2000)))
    with pytest.raises(InputError, match="do not overlap after the affine"):
        estimate(apart, fixed=NATIVE, moving=NATIVE)


def test_enough_memory_is_no_error(monkeypatch, refining):
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 16 * GB)
    require_memory(refining, fixed=NATIVE, moving=NATIVE)
    monkeypatch.setattr(memory, "available_host_bytes", lambda: None)
    require_memory(refining, fixed=NATIVE, moving=NATIVE)


def test_too_little_memory_is_told_with_the_need(monkeypatch, refining):
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 1.2 * GB)
    with pytest.raises(InputError, match=r"needs \d+\.\d GB of memory, and 1\.2 GB are left: crop both scans"):
        require_memory(refining, fixed=NATIVE, moving=NATIVE)


def test_a_setting_that_fits_is_named(monkeypatch, refining):
    small = Grid((100, 100, 100), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    hungry = finer(refining, 1.5)
    thrifty = estimate(hungry.unrefined(), fixed=small, moving=small).host
    assert thrifty < estimate(hungry, fixed=small, moving=small).host
    monkeypatch.setattr(memory, "available_host_bytes", lambda: thrifty * 1.01)
    with pytest.raises(InputError, match=r'use `refine="none"`, which needs'):
        require_memory(hungry, fixed=small, moving=small)


def test_the_smaller_effort_is_named_first(monkeypatch, refining):
    accurate = dataclasses.replace(refining, refine="accurate")
    wide = Grid((150, 150, 150), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    less = estimate(refining, fixed=wide, moving=wide).host
    assert less < estimate(accurate, fixed=wide, moving=wide).host
    monkeypatch.setattr(memory, "available_host_bytes", lambda: less * 1.01)
    with pytest.raises(InputError, match=r'use `refine="fast"`, which needs'):
        require_memory(accurate, fixed=wide, moving=wide)


def test_the_topology_is_given_up_before_the_refinement(monkeypatch, refining):
    kept = dataclasses.replace(refining, topology="preserve")
    less = estimate(refining, fixed=NATIVE, moving=NATIVE).host
    assert less < estimate(kept, fixed=NATIVE, moving=NATIVE).host
    monkeypatch.setattr(memory, "available_host_bytes", lambda: less * 1.01)
    with pytest.raises(InputError, match=r'use `topology="free"`, which needs'):
        require_memory(kept, fixed=NATIVE, moving=NATIVE)


def test_a_full_gpu_sends_to_the_cpu(monkeypatch, refining):
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 64 * GB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(0.001 * GB), 8 * GB))
    with pytest.raises(InputError, match=r"GB on the GPU.*GB are left|on the GPU are left.*use `device=.cpu.`"):
        require_memory(dataclasses.replace(refining, device=torch.device("cuda:0")), fixed=NATIVE, moving=NATIVE)


def test_what_steers_needs_more_and_is_not_left_out(monkeypatch, refining):
    wide = Grid((150, 150, 150), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    needs = [
        estimate(dataclasses.replace(refining, **more), fixed=wide, moving=wide).host
        for more in ({}, {"steering": Steering(labels=tuple(range(1, 41)))}, {"same_patient": True})
    ]
    assert needs[0] < min(needs[1:])
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 0.1 * needs[0])
    with pytest.raises(InputError, match=r"crop both scans"):
        require_memory(dataclasses.replace(refining, same_patient=True), fixed=wide, moving=wide)
