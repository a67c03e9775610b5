"""Registrations on a device that is no CPU: nothing mixes the two, and what comes out is what the CPU gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mics.deformation import field
from mics.image.grid import Grid
from mics.image.points import Points, write_points
from mics.network import precision
from mics.network.velocity import VelocityConfig, VelocityMICS
from mics.network.weights import DEFAULT_SEGMENTATION, load_model, save_model
from mics.registration import organ_affine, settings
from mics.registration.header_orientation import wrong_orientations
from mics.registration.refine_settings import EFFORTS
from mics.registration.register import register
from mics.registration.stage import Stage

GRID = Grid((24, 20, 16), (9, 9, 9), (-103.5, -85.5, -67.5))
POINTS = GRID.points().astype(float)


PLACES = np.array([[-35.0, 0, 0], [35, 10, 20]])
LANDMARKS = {"fixed": PLACES, "moving": PLACES + [10.0, 0, 0]}


class Halved(Stage):
    """A stage of one's own, on both tensors."""

    name = "halved"

    def run(self, state):
        """Half of either displacement."""
        both = state.field.moving_to_fixed, state.field.fixed_to_moving
        assert {part.device for part in both} == {state.device}
        return state.with_displacements(moving_to_fixed=both[0] / 2, fixed_to_moving=both[1] / 2)


@pytest.fixture(autouse=True)
def alike(monkeypatch):
    """Devices are compared, not the precisions that they are fast in; and the pretended one serves one thread."""
    monkeypatch.setattr(precision, "half_precision_pays", lambda device: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def velocity_model(tmp_path_factory):
    """A small network that predicts a velocity, with random weights."""
    torch.manual_seed(3)
    network = VelocityMICS(VelocityConfig(channels=(4, 8), velocity_levels=2, decoder_normalisation=False))
    for head in network.velocity_heads:
        torch.nn.init.normal_(head.weight, std=0.05)
    path = tmp_path_factory.mktemp("model") / "tiny-velocity.safetensors"
    save_model(network, {"spacing_mm": 8.0, "hu_range": [-125, 275], "steps": 1}, path)
    return path


@pytest.fixture(scope="module")
def models(tiny_model, tiny_organ_model, velocity_model):
    """Registration networks that know nothing, by what is special about them."""
    return {"plain": tiny_model, "organ maps": tiny_organ_model, "velocity": velocity_model}


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory):
    """Files of landmarks, as `register` takes them."""
    folder = tmp_path_factory.mktemp("landmarks")
    for role, places in LANDMARKS.items():
        write_points(Points(places, ("",) * len(places)), folder / f"{role}.csv")
    return {f"{role}_landmarks": folder / f"{role}.csv" for role in LANDMARKS}


@pytest.fixture
def run(monkeypatch, scans, models, tiny_segmentation, landmarks):
    """`register` with networks that know nothing and few steps of each descent, `on` the CPU or another device."""
    monkeypatch.setattr(organ_affine, "_ITERATIONS", 1)
    for name, effort in EFFORTS.items():
        levels = tuple(replace(level, iterations=2) for level in effort.levels)
        monkeypatch.setitem(EFFORTS, name, replace(effort, levels=levels))
    known, organs = settings.load_model_for, (DEFAULT_SEGMENTATION, organ_affine.AFFINE_MODEL)
    monkeypatch.setattr(
        settings, "load_model_for", lambda task, name: known(task, tiny_segmentation if name in organs else name)
    )

    def registered(on, *, model="plain", with_labels=False, masked=False, **more):
        with monkeypatch.context() as chosen:
            chosen.setattr(settings, "choose_device", torch.device)
            if more.get("steer") == "landmarks":
                more = {**landmarks, **more}
            if with_labels:
                more = {**scans.labels, **more}
            if masked:
                more |= {f"{role}_exclude": scans.labels[f"{role}_labels"] for role in ("fixed", "moving")}
            model = models.get(model, model) if isinstance(model, str) else model
            return register(scans.fixed, scans.moving, device=on, model=model, **{"affine": "none", **more})

    return registered


CASES = {
    "prediction": {"refine": "none"},
    "prediction of a velocity": {"refine": "none", "model": "velocity"},
    "affine by organs, prediction from organ maps": {"refine": "none", "model": "organ maps", "affine": "organs"},
    "fast, led by labels": {"refine": "fast", "with_labels": True, "steer": [3, 8]},
    "fast, led by landmarks": {"refine": "fast", "steer": "landmarks", "landmark_tolerance_mm": 2.0},
    "accurate, masked, without folds": {"refine": "accurate", "topology": "preserve", "masked": True},
    "a stage of one's own": {"stages": [Halved()], "with_labels": True},
}

LONG = "affine by organs, prediction from organ maps"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) if name == LONG else name for name in CASES]
)
def test_a_registration_is_that_of_the_cpu(name, run, pretended_device):
    same(run(pretended_device, **CASES[name]), run("cpu", **CASES[name]), up_to_mm=0.01)


@pytest.mark.nightly
def test_one_patient_is_registered_as_on_the_cpu(run, scans, pretended_device, monkeypatch):
    """From rest all places are voxels' middles, where interpolation has two slopes and rounding, here the same, takes one."""
    monkeypatch.setattr(field, "_MANY_CHANNELS", 1_000_000)
    lesions = {f"{role}_lesions": scans.labels[f"{role}_labels"] for role in ("fixed", "moving")}
    options = {"refine": "fast", "same_patient": True, **lesions}
    same(run(pretended_device, **options), run("cpu", **options), up_to_mm=0.01)


def same(found, expected, *, up_to_mm):
    """Both registrations deliver one and the same, up to rounding, and lie on the CPU."""
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-3)
    assert found.summary["verdict"]["word"] == expected.summary["verdict"]["word"]
    assert found.summary["settings"]["device"] == "pretended:0"
    for name in ("moving_to_fixed", "fixed_to_moving"):
        own, other = getattr(found, name), getattr(expected, name)
        assert np.abs(other.displacement_mm).max() > 0.01
        np.testing.assert_allclose(own.displacement_mm, other.displacement_mm, atol=up_to_mm)
        points = own.transform_points(POINTS[::5, ::5, ::5].reshape(-1, 3))
        np.testing.assert_allclose(points, other.transform_points(POINTS[::5, ::5, ::5].reshape(-1, 3)), atol=up_to_mm)
    for name in ("moving_warped", "fixed_warped", "moving_labels_warped", "fixed_labels_warped"):
        own, other = getattr(found, name), getattr(expected, name)
        assert (own is None) == (other is None)
        if own is not None:
            assert np.mean(np.abs(own.array.astype(float) - other.array) > 5) < 0.02


def test_a_model_goes_back_to_the_cpu(run, pretended_device, models):
    """Its networks are the same objects, which lie where they were used last."""
    model = load_model(models["plain"])
    expected = run("cpu", model=model, refine="none")
    run(pretended_device, model=model, refine="none")
    again = run("cpu", model=model, refine="none")
    assert np.array_equal(again.moving_to_fixed.displacement_mm, expected.moving_to_fixed.displacement_mm)


@pytest.mark.parametrize("model", ["plain", "velocity", "organ maps"])
def test_half_precision_on_a_device_is_no_worse_than_on_a_cpu(model, run, pretended_device, monkeypatch):
    """With the rules of a GPU's autocast, by which other operations take bfloat16 than on a CPU."""
    exact = run("cpu", model=model, refine="none").moving_to_fixed.displacement_mm
    monkeypatch.setattr(precision, "half_precision_pays", lambda device: True)
    here, cpu = (run(device, model=model, refine="none").moving_to_fixed for device in (pretended_device, "cpu"))
    error, allowed = (np.linalg.norm(half.displacement_mm - exact) for half in (here, cpu))
    assert 0 < error < 2 * allowed


def test_a_turned_header_is_looked_for_on_the_device(scans, pretended_device):
    both = {"fixed": scans.fixed, "moving": scans.moving}
    assert wrong_orientations(both, pretended_device) == wrong_orientations(both, torch.device("cpu"))
