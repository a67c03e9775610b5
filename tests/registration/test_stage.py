"""Stages from outside the package: what they are given, what they may do, and what is refused."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from mics.deformation.field import exponentiate, logarithm
from mics.errors import InputError
from mics.image.grid import Grid, apply_matrix
from mics.network.weights import load_model
from mics.registration import memory, settings
from mics.registration.refine_settings import EFFORTS, RefineSettings
from mics.registration.register import register
from mics.registration.stage import Stage
from mics.registration.stages.fold_removal import FoldRemoval
from mics.registration.stages.instance_optimisation import InstanceOptimisation
from mics.registration.stages.inverse_consistency import InverseConsistency


@dataclass(frozen=True)
class Scaled(Stage):
    """Both displacements, times a factor."""

    factor: float
    name: str = "scaled"
    bytes_at_peak: float = 0.0

    def memory(self, grid, device):
        return self.bytes_at_peak

    def run(self, state):
        field = state.field
        scaled = state.with_displacements(
            moving_to_fixed=self.factor * field.moving_to_fixed, fixed_to_moving=self.factor * field.fixed_to_moving
        )
        return scaled.with_report(self.name, {"factor": self.factor})


class PartOfTheWay:
    """The deformation along its velocity; no subclass of Stage, but all that one has."""

    name, title, needs = "part", "Going a part of the way", ()

    def __init__(self, share):
        self.share = share

    def memory(self, grid, device):
        return 0.0

    def run(self, state):
        velocity = self.share * logarithm(state.field.moving_to_fixed, state.field.fixed_to_moving)
        return state.with_displacements(moving_to_fixed=exponentiate(velocity), fixed_to_moving=exponentiate(-velocity))


class Known(Stage):
    """A deformation that is known, whatever the network predicts."""

    name = "known"

    def __init__(self, known_map):
        self.known_map = known_map

    def run(self, state):
        return state.with_displacements(**self.known_map.displacements(state))


@pytest.fixture
def given(options):
    """`options` without what stages take the place of."""
    return {key: value for key, value in options.items() if key != "refine"}


@pytest.fixture
def predicted(patients, options):
    return register(**patients, **options)


def beyond_the_affine(transform, affine):
    """What moves the points of the fixed scan before the affine does, in mm."""
    x = transform.grid.points().astype(float)
    return apply_matrix(np.linalg.inv(affine), x + transform.displacement_mm) - x


def test_a_stage_scales_the_deformation_and_reports_it(patients, given, predicted, known_map):
    half = register(**patients, **given, stages=[Scaled(0.5)])
    whole = beyond_the_affine(predicted.moving_to_fixed, known_map.affine)
    assert np.abs(whole).max() > 10
    np.testing.assert_allclose(beyond_the_affine(half.moving_to_fixed, known_map.affine), whole / 2, atol=1e-2)
    assert half.summary["stages"] == {"scaled": {"factor": 0.5}}
    assert half.summary["settings"]["refine"] == "scaled"
    assert half.summary["topology"] is None
    assert half.summary["seconds"]["scaled"] >= 0
    assert set(half.summary) == {*predicted.summary, "stages"}
    assert "stages" not in predicted.summary


def test_nothing_after_the_network_is_its_prediction(patients, given, predicted):
    plain = register(**patients, **given, stages=[])
    for name in ("moving_to_fixed", "fixed_to_moving"):
        assert np.array_equal(getattr(plain, name).displacement_mm, getattr(predicted, name).displacement_mm)
    assert plain.summary["stages"] == {}
    assert plain.summary["settings"]["refine"] == "none"


def test_half_of_the_way_along_the_velocity_twice_is_all_of_it(patients, given, known_map):
    message = []
    half = register(**patients, **given, stages=(Known(known_map), PartOfTheWay(0.5)), progress=message.append)
    assert message.index("known") + 1 == message.index("Going a part of the way")
    points = np.random.default_rng(0).uniform((-140, -40, -120), (90, 150, 50), (200, 3))
    inverse = np.linalg.inv(known_map.affine)
    for _ in range(2):
        points, before = apply_matrix(inverse, half.moving_to_fixed.transform_points(points)), points
    whole = np.random.default_rng(0).uniform((-140, -40, -120), (90, 150, 50), (200, 3))
    whole = whole + known_map.u(whole)
    assert np.linalg.norm(points - whole, axis=1).max() < 0.5
    assert np.linalg.norm(before - whole, axis=1).max() > 3


def test_the_packages_own_stages_do_what_the_options_do(patients, options, given):
    by_option = register(**patients, **options, topology="preserve")
    by_stage = register(**patients, **given, stages=[FoldRemoval()])
    for name in ("moving_to_fixed", "fixed_to_moving"):
        assert np.array_equal(getattr(by_stage, name).displacement_mm, getattr(by_option, name).displacement_mm)
        found, expected = (r.summary["topology"][name] for r in (by_stage, by_option))
        assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    assert by_stage.summary["settings"]["topology"] == "preserve"


def test_a_stage_on_the_transforms_sees_them_on_the_scans_grids(patients, given, known_map):
    class Still(Stage):
        name, needs = "still", ("transforms",)

        def run(self, state):
            for transform in (state.transforms.moving_to_fixed, state.transforms.fixed_to_moving):
                transform.displacement_mm[...] = 0
            return state.with_report(self.name, {"affine": state.affine.tolist()})

    result = register(**patients, **given, stages=[Still()])
    assert (result.moving_to_fixed.grid, result.fixed_to_moving.grid) == (known_map.grid, result.moving.grid)
    assert not result.moving_to_fixed.displacement_mm.any()
    np.testing.assert_allclose(result.summary["stages"]["still"]["affine"], known_map.affine, atol=1e-6)


def test_a_stage_that_needs_organ_maps_gets_them_and_may_have_masks(
    monkeypatch, patients, given, label_map, known_map, tiny_segmentation
):
    class Looking(Stage):
        name, needs = "looking", ("organ_maps",)

        def run(self, state):
            views = state.views
            assert views.organs.fixed.shape[2:] == views.windows.moving.shape[2:] == views.compared.fixed.shape[2:]
            shares = {"fixed": float(views.compared.fixed.mean()), "moving": float(views.compared.moving.mean())}
            return state.with_report(
                self.name, {"spacing_mm": views.spacing_mm, "organs": views.organs.fixed.shape[1], **shares}
            )

    monkeypatch.setattr(
        settings, "load_model_for", lambda _, name: load_model(tiny_segmentation if name == "organs-small" else name)
    )
    mask = label_map(known_map.grid, known_map.to_moving)
    plain, masked = (
        register(**patients, **given, stages=[Looking()], fixed_exclude=exclude) for exclude in (None, mask)
    )
    found = plain.summary["stages"]["looking"]
    assert (found["spacing_mm"], found["organs"]) == (10.0, 13)
    assert found["moving"] == pytest.approx(plain.summary["geometry"]["field_of_view"]["moving_share"], abs=0.02)
    assert masked.summary["stages"]["looking"]["fixed"] < found["fixed"] - 0.01
    assert masked.summary["stages"]["looking"]["moving"] == found["moving"]
    assert plain.summary["evidence"] is not None


def test_what_a_stage_takes_of_memory_counts(monkeypatch, patients, given):
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 4e9)
    register(**patients, **given, stages=[Scaled(1.0, bytes_at_peak=1e6)])
    with pytest.raises(InputError, match=r"needs 1\d\.\d GB of memory, and 4\.0 GB are left: crop both scans"):
        register(**patients, **given, stages=[Scaled(1.0, bytes_at_peak=1e10)])


def test_memory_is_asked_for_the_grid_that_a_stage_works_on(patients, given, moving_grid, known_map):
    asked = {}

    class Asked(Stage):
        def __init__(self, name, needs):
            self.name, self.needs = name, needs

        name = needs = None

        def memory(self, grid, device):
            asked[self.name] = (grid, device)
            return 0.0

        def run(self, state):
            return state.with_report(self.name, {"size": state.grid.size})

    result = register(**patients, **given, stages=[Asked("on the field", ()), Asked("on the scans", ("transforms",))])
    larger = max(known_map.grid, moving_grid, key=lambda grid: np.prod(grid.size))
    assert asked["on the scans"] == (larger, torch.device("cpu"))
    grid, _ = asked["on the field"]
    assert grid.spacing == (8.0, 8.0, 8.0)
    assert np.prod(grid.size) == pytest.approx(np.prod(result.summary["stages"]["on the field"]["size"]), rel=0.2)


def nothing(state):
    return None


def not_numbers(state):
    return state.with_displacements(
        moving_to_fixed=state.field.moving_to_fixed / 0, fixed_to_moving=state.field.fixed_to_moving
    )


def views_unasked(state):
    return state.with_report("made", {"spacing_mm": state.views.spacing_mm})


def transforms_unasked(state):
    return state.with_transforms(state.transforms)


def no_plain_data(state):
    return state.with_report("made", {"grid": state.grid})


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (nothing, "stage made gives the state back, not None"),
        (not_numbers, "displacements that are NaN or infinite"),
        (views_unasked, "name 'organ_maps' in its needs"),
        (transforms_unasked, "name 'transforms' in its needs"),
        (no_plain_data, "stage made reports what is no plain data for JSON"),
    ],
)
def test_what_a_stage_does_wrong_is_told_in_a_sentence(patients, given, run, message):
    made = type("Made", (Stage,), {"name": "made", "run": lambda self, state: run(state)})
    with pytest.raises(InputError, match=message) as error:
        register(**patients, **given, stages=[made()])
    assert str(error.value).endswith(".")


def needing(*needs, name="made"):
    return type("Made", (Stage,), {"name": name, "needs": needs, "run": lambda self, state: state})()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"stages": [Scaled(1.0)], "refine": "accurate"}, "leave both as they are by default"),
        ({"stages": [Scaled(1.0)], "topology": "preserve"}, "leave both as they are by default"),
        ({"stages": Scaled(1.0)}, "stages are a list, not"),
        ({"stages": [FoldRemoval]}, r"an object and not a class: give FoldRemoval\(\)"),
        ({"stages": [lambda state: state]}, "an object with name, title, needs, memory and run"),
        ({"stages": [needing(name=3)]}, "name is a str, not 3"),
        ({"stages": [needing("patience")]}, "needs 'patience': choose from organ_maps, transforms, orientation"),
        ({"stages": [needing("transforms", "organ_maps")]}, "make two stages of it"),
        ({"stages": [Scaled(1.0), Scaled(2.0)]}, "Two stages are called scaled: give one of them another name"),
        ({"stages": [needing(name="network")]}, "Two stages are called network"),
        ({"stages": [needing(name="total")]}, "Two stages are called total"),
        ({"stages": [needing("transforms"), Scaled(1.0)]}, "give scaled first"),
        ({"stages": [FoldRemoval(), needing("transforms")]}, "may fold again: give topology last"),
    ],
)
def test_stages_that_do_not_fit_are_refused_before_the_work(patients, given, change, expected):
    message = []
    with pytest.raises(InputError, match=expected):
        register(**patients, **given, **change, progress=message.append)
    assert message == []


def test_masks_without_a_stage_that_looks_at_organs_are_refused(patients, given, label_map, known_map):
    with pytest.raises(InputError, match="Masks of what to leave out are for the refinement"):
        register(
            **patients, **given, stages=[Scaled(1.0)], fixed_exclude=label_map(known_map.grid, known_map.to_moving)
        )


def test_two_stages_of_one_kind_have_names_of_their_own(tiny_model):
    found = settings.resolve(
        affine="none",
        steps=None,
        model=tiny_model,
        refine="fast",
        topology="free",
        device="cpu",
        stages=[
            InstanceOptimisation(EFFORTS["fast"]),
            Scaled(0.9),
            InstanceOptimisation(replace(EFFORTS["fast"], smoothness=2.0), name="smoother"),
            InverseConsistency(),
        ],
    )
    assert found.refine == "refine + scaled + smoother + inverse"
    assert found.segmentation is not None


def test_an_effort_of_the_refinement_is_one_row(monkeypatch, tiny_model):
    """Its memory stands with it; where that is not there, the next smaller one is named."""
    fast = EFFORTS["fast"]
    thorough = RefineSettings(fast.levels, bytes_per_mm3=400)
    monkeypatch.setitem(EFFORTS, "thorough", thorough)
    chosen = settings.resolve(
        affine="none", steps=None, model=tiny_model, refine="thorough", topology="free", device="cpu"
    )
    grid = Grid((150, 150, 150), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    needs = {
        name: memory.estimate(replace(chosen, refine=name), fixed=grid, moving=grid).host
        for name in ("thorough", "accurate")
    }
    assert needs["thorough"] > 5 * needs["accurate"]
    monkeypatch.setattr(memory, "available_host_bytes", lambda: needs["accurate"] * 1.01)
    with pytest.raises(InputError, match='use `refine="accurate"`, which needs'):
        memory.require_memory(chosen, fixed=grid, moving=grid)
