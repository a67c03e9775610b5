import dataclasses

import pytest
import torch

from mics.errors import InputError
from mics.image.grid import Grid
from mics.registration import memory
from mics.registration.memory import estimate, require_memory
from mics.registration.settings import resolve

NATIVE = Grid((512, 512, 150), (0.8, 0.8, 2.0), (0.0, 0.0, 0.0))
GB = 1e9


@pytest.fixture
def settings(tiny_model):
    """Without refinement, on the CPU."""
    return resolve(affine="none", steps=None, model=tiny_model, refine="none", topology="free", device="cpu")


@pytest.fixture
def refining(settings):
    return dataclasses.replace(settings, refine="fast", segmentation=settings.model)


def test_native_scans_fit_into_eight_gigabytes(refining):
    assert 2 * GB < estimate(NATIVE, NATIVE, refining).host < 8 * GB


def test_finer_models_larger_scans_and_refinement_need_more(settings, refining):
    need = estimate(NATIVE, NATIVE, settings)
    twice = Grid((512, 512, 300), (0.8, 0.8, 1.0), (0.0, 0.0, 0.0))
    assert estimate(twice, NATIVE, settings).host > need.host
    fine = dataclasses.replace(settings.model, card=settings.model.card.model_copy(update={"spacing_mm": 0.5}))
    assert estimate(NATIVE, NATIVE, dataclasses.replace(settings, model=fine)).host > need.host
    on_gpu = [dataclasses.replace(s, device=torch.device("cuda:0")) for s in (settings, refining)]
    assert estimate(NATIVE, NATIVE, on_gpu[0]).gpu < estimate(NATIVE, NATIVE, on_gpu[1]).gpu


def test_enough_memory_is_no_error(monkeypatch, refining):
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 16 * GB)
    require_memory(NATIVE, NATIVE, refining)
    monkeypatch.setattr(memory, "available_host_bytes", lambda: None)
    require_memory(NATIVE, NATIVE, refining)


def test_too_little_memory_is_told_with_the_need(monkeypatch, refining):
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 1.2 * GB)
    with pytest.raises(InputError, match=r"needs \d+\.\d GB of memory, and 1\.2 GB are left: crop both scans"):
        require_memory(NATIVE, NATIVE, refining)


def test_a_setting_that_fits_is_named(monkeypatch, refining):
    small = Grid((100, 100, 100), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    fine = dataclasses.replace(refining.model, card=refining.model.card.model_copy(update={"spacing_mm": 1.5}))
    hungry = dataclasses.replace(refining, model=fine)
    thrifty = estimate(small, small, hungry.unrefined()).host
    assert thrifty < estimate(small, small, hungry).host
    monkeypatch.setattr(memory, "available_host_bytes", lambda: thrifty * 1.01)
    with pytest.raises(InputError, match=r"use --refine none, which needs"):
        require_memory(small, small, hungry)


def test_the_smaller_budget_is_named_first(monkeypatch, refining):
    accurate = dataclasses.replace(refining, refine="accurate")
    wide = Grid((150, 150, 150), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    less = estimate(wide, wide, refining).host
    assert less < estimate(wide, wide, accurate).host
    monkeypatch.setattr(memory, "available_host_bytes", lambda: less * 1.01)
    with pytest.raises(InputError, match=r"use --refine fast, which needs"):
        require_memory(wide, wide, accurate)


def test_the_topology_is_given_up_before_the_refinement(monkeypatch, refining):
    kept = dataclasses.replace(refining, topology="preserve")
    less = estimate(NATIVE, NATIVE, refining).host
    assert less < estimate(NATIVE, NATIVE, kept).host
    monkeypatch.setattr(memory, "available_host_bytes", lambda: less * 1.01)
    with pytest.raises(InputError, match=r"use --topology free, which needs"):
        require_memory(NATIVE, NATIVE, kept)


def test_a_full_gpu_sends_to_the_cpu(monkeypatch, refining):
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 64 * GB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(0.001 * GB), 8 * GB))
    with pytest.raises(InputError, match=r"GB on the GPU.*GB are left|on the GPU are left.*use --device cpu"):
        require_memory(NATIVE, NATIVE, dataclasses.replace(refining, device=torch.device("cuda:0")))
