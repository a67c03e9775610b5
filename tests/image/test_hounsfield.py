"""Which values are taken for Hounsfield units."""

import functools
import re
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mics.data.phantom import network_grid, phantom
from mics.errors import InputError
from mics.image.ct_histogram import tissue_peaks
from mics.image.grid import Grid
from mics.image.hounsfield import hounsfield_units, read_scan
from mics.image.io import Image, read_image, write_image

SHAPE = (40, 32, 16)


def body(seed=0, air=0.45, fat=0.25, lung=0.05, noise=15.0, enhancement=0.0):
    """A cylinder of soft tissue, fat and lung in noisy air: the shares are those of voxels."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[:2]), indexing="ij")
    depth = np.repeat((x**2 + y**2)[..., None], SHAPE[2], axis=2).argsort(axis=None).argsort() / np.prod(SHAPE)
    depth = depth.reshape(SHAPE)
    hu = np.where(depth > 1 - air, -1000.0, 50.0 + enhancement)
    hu[(depth <= 1 - air) & (depth > 1 - air - fat)] = -100
    hu[depth < lung] = random.normal(-820, 90, np.count_nonzero(depth < lung))
    bone = (depth > lung) & (depth < lung + 0.01)
    hu[bone] = random.uniform(150, 1000, np.count_nonzero(bone))
    return (hu + random.normal(0, noise, SHAPE)).astype(np.float32)


def outside_of_the_circle(hu, value):
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[:2]), indexing="ij")
    return np.where((x**2 + y**2 > 1.2)[..., None], np.float32(value), hu)


def refusal(array, **kwargs):
    with pytest.raises(InputError, match=r"^A scan ") as error:
        hounsfield_units(array.astype(np.float32), "A scan", **kwargs)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
    return str(error.value)


BODIES = {
    "seed": st.integers(0, 100),
    "air": st.floats(0.2, 0.65),
    "fat": st.floats(0.1, 0.25),
    "lung": st.floats(0, 0.1),
    "noise": st.floats(5, 25),
}


@settings(max_examples=12, deadline=None)
@given(st.fixed_dictionaries({**BODIES, "enhancement": st.floats(-20, 60)}))
def test_scans_as_they_are_are_taken_without_a_word_and_stay_as_they_are(shares):
    hu = body(**shares)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hounsfield_units(hu, "A scan") is hu


@settings(max_examples=12, deadline=None)
@given(st.fixed_dictionaries(BODIES), st.one_of(st.integers(200, 33000), st.integers(-34000, -200)))
def test_any_offset_is_named_within_30_hu(shares, offset):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            hounsfield_units(body(**shares) + np.float32(offset), "A scan")
            message = str(caught[0].message)
        except InputError as error:
            message = str(error)
    found = re.search(r"look like HU shifted by about ([+-]\d+)", message)
    assert found is not None, message
    assert abs(float(found[1]) - offset) <= 30


@pytest.mark.parametrize("padding", [None, 0, -2000, -3024])
@pytest.mark.parametrize("offset", [1000, 1024])
def test_stored_values_without_their_intercept_are_refused_with_the_mend(offset, padding):
    stored = body() + offset
    message = refusal(stored if padding is None else outside_of_the_circle(stored, padding))
    assert "the rescale intercept (-1024 or -1000) is missing: convert the scan from DICOM again" in message
    assert abs(float(re.search(r"subtract about (\d+)", message)[1]) - offset) <= 30


CUT = {
    "inside of the body": np.s_[14:26, 12:20],
    "upper part": np.s_[:, :, 8:],
    "lung": np.s_[16:24, 13:19],
    "a side": np.s_[:20],
}


@pytest.mark.parametrize("part", CUT)
def test_parts_of_a_scan_are_taken(part):
    hu = body(lung=0.04)[CUT[part]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hounsfield_units(hu, "A scan") is hu


@pytest.mark.parametrize(("low", "high"), [(-125, 275), (-1000, 1000), (-200, 300), (-1024, 30000)])
def test_values_cut_off_at_both_ends_and_metal_are_taken(low, high):
    hu = body()
    hu[20:22, 16:18] = 30000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hounsfield_units(hu.clip(low, high), "A scan")


@pytest.mark.parametrize("value", [-500, -300, 0])
def test_a_body_that_was_cut_out_is_told_as_that_and_not_as_another_scale(value):
    hu = subject()
    outside = np.ones(hu.shape, bool)
    for k in range(hu.shape[2]):
        rows, columns = np.nonzero(hu[:, :, k] > -300)
        outside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, k] = False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hounsfield_units(np.where(outside, np.float32(value), hu), "A scan")
    (warning,) = caught
    assert str(warning.message).startswith(f"A scan is {value} in ")
    assert "put -1000 there" in str(warning.message)


def test_generated_subjects_are_taken():
    hu = subject()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hounsfield_units(hu, "A scan") is hu
    assert "subtract about 10" in refusal(hu + 1024)


@pytest.mark.parametrize(
    ("padding", "warned"), [(-1500, 0), (-1800, 0), (-2000, 0), (-3024, 0), (-32768, 0), (62512, 1)]
)
def test_padding_becomes_air_and_nothing_else_changes(padding, warned):
    hu = body()
    hu[20:22, 16:18] = 20000  # metal
    padded = outside_of_the_circle(hu, padding)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = hounsfield_units(padded, "A scan")
    np.testing.assert_array_equal(found, outside_of_the_circle(hu, -1000))
    assert len(caught) == warned
    assert padded.min() == padding or padded.max() == padding


@pytest.mark.parametrize("shift", [-150, -200, -300])
def test_constant_air_of_a_shifted_scan_is_no_padding(shift):
    hu = body(lung=0.1)
    assert re.search(rf"shifted by about {shift // 10}.", refusal(np.where(hu < -960, -1000, hu) + shift))


def organs(dtype=np.float32):
    array = np.zeros(SHAPE, dtype)
    for organ in range(1, 6):
        array[7 * organ - 5 : 7 * organ, 8:20, 2:14] = organ * 20
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ((body().clip(-1000, 1000) + 1000) / 2000, r"between .* scaling to \[0, 1\] or a z-score"),
        ((body() - body().mean()) / body().std(), r"between .* scaling to \[0, 1\] or a z-score"),
        (np.rint((body().clip(-160, 240) + 160) / 400 * 255), "between 0 and .* not scaled or cut off at 0"),
        (
            np.rint((body().clip(-1024, 3071) + 1024) / 4095 * 255),
            r"HU times about 0\.06\d?, plus 60 .* rescale slope|between 0 and .* not scaled or cut off at 0",
        ),
        (np.abs(np.where(body() < -500, 0, 400) + 20 * body(1, noise=1) / 1000), "MR and PET"),
        (np.where(body() < -500, 0, 20000 + 50 * body(1)), "MR and PET"),
        (body() / 10, "HU divided by 10, .* multiply every value by 10"),
        (body(fat=0.06) / 10, "HU divided by 10, .* multiply every value by 10"),
        (1900 * (1 + body() / 1000), "does not hold Hounsfield units: "),
        (body() * 2, "HU times about 2, plus .* rescale slope"),
        (body() / 2, "HU times about 0.5, plus .* rescale slope"),
        (organs(), "looks like a label map"),
        (np.random.default_rng(0).normal(-1000, 20, SHAPE), "air alone"),
        (outside_of_the_circle(np.random.default_rng(0).normal(-1000, 20, SHAPE), -2000), "air alone"),
    ],
    ids=[
        "unit",
        "z-score",
        "window",
        "8 bit",
        "MR",
        "PET",
        "tenth",
        "tenth of a thin subject",
        "attenuation",
        "doubled",
        "halved",
        "labels",
        "air",
        "padded air",
    ],
)
def test_other_values_are_refused_with_what_they_are(array, message):
    assert re.search(message, refusal(array))


@pytest.mark.parametrize("factor", [0.0625, 0.15, 0.4, 3, 25, -0.2, -1, -5])
@pytest.mark.parametrize("offset", [0, 300])
def test_the_places_of_air_fat_and_soft_tissue_are_named(factor, offset):
    message = refusal(body(seed=4) * factor + offset)
    assert ("look like HU upside down" in message) is (factor < 0)
    places = re.search(r"air near (\S+), fat near (\S+) and soft tissue near ([^)]+)", message).groups()
    np.testing.assert_allclose((np.array(places, float) - offset) / factor, [-1000, -100, 50], atol=70)


@pytest.mark.parametrize(
    ("factor", "offset"),
    [(0.8, 0), (1.2, 0), (0.8, 50), (0.7, -40), (1.5, 0), (0.8, 819)],
    ids=lambda number: f"{number:g}",
)
def test_a_factor_near_one_is_named(factor, offset):
    message = refusal(body(seed=1) * factor + offset)
    named = re.search(r"HU times about (\S+), plus (-?\d+)", message)
    assert float(named[1]) == pytest.approx(factor, abs=0.04)
    assert float(named[2]) == pytest.approx(offset, abs=30)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1000), (-500, 500), (-100, 100), (-2000, 2000)])
def test_values_scaled_to_another_range_are_refused(low, high):
    hu = body(seed=2)
    assert "HU times about" in refusal((hu - hu.min()) / np.ptp(hu) * (high - low) + low)


@pytest.mark.parametrize("times", [50, 100, 300, 1000])
def test_a_z_score_times_a_number_is_refused(times):
    hu = body(seed=2)
    assert "HU times about" in refusal((hu - hu.mean()) / hu.std() * times)


@pytest.mark.parametrize("change", [lambda hu: -hu, lambda hu: 1000 - hu, lambda hu: hu.min() + hu.max() - hu])
@pytest.mark.parametrize(("low", "seed"), [(-2000, 2), *((-125, seed) for seed in range(6))])
def test_bright_for_dark_is_told_as_that(change, low, seed):
    hu = body(seed=seed).clip(low, 400)
    assert "the values look like HU upside down" in refusal(change(hu))


def test_lung_alone_is_no_scan_on_another_scale():
    random = np.random.default_rng(0)
    hu = np.where(random.random(SHAPE) < 0.6, random.normal(-850, 45, SHAPE), random.normal(45, 15, SHAPE))
    hu[:, :, :3] = random.normal(-95, 15, (*SHAPE[:2], 3))
    hu = hu.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hounsfield_units(hu, "A scan") is hu


@pytest.mark.filterwarnings("ignore:A scan may not hold Hounsfield units")
@pytest.mark.parametrize("air", [0, 20], ids=["alone", "beside air"])
def test_water_and_fluid_are_no_tenth_of_anything(air):
    """A narrow peak at 0 fits a tenth of soft tissue too."""
    hu = np.random.default_rng(0).normal(3, 8, SHAPE).astype(np.float32)
    hu[:, :, : air // 10] = np.random.default_rng(1).normal(-1000, 15, (*SHAPE[:2], air // 10))
    assert hounsfield_units(hu, "A scan") is hu


def test_soft_tissue_without_anything_below_0_is_taken_with_a_warning():
    hu = np.random.default_rng(0).normal(60, 8, SHAPE).clip(5).astype(np.float32)
    with pytest.warns(UserWarning, match="no value is below 0"):
        assert hounsfield_units(hu, "A scan") is hu


def test_files_are_told_by_their_path_where_ct_is_needed_alone(tmp_path):
    grid = Grid(SHAPE, (8.0, 8.0, 8.0), (0.0, 0.0, 0.0))
    write_image(Image((body() + 1024).clip(0).astype(np.uint16), grid), tmp_path / "raw.nii.gz")
    with pytest.raises(InputError, match=r"raw\.nii\.gz does not hold Hounsfield units"):
        read_scan(tmp_path / "raw.nii.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "raw.nii.gz").array.min() >= 0


@settings(max_examples=4, deadline=None)
@given(st.fixed_dictionaries({**BODIES, "fat": st.floats(0.2, 0.25)}), st.integers(60, 140), st.sampled_from([-1, 1]))
@example(
    {"seed": 0, "air": 0.625, "fat": 0.25, "lung": 0.0625, "noise": 5.0}, 60, -1
)  # little but fat: it passed for soft tissue
@example({"seed": 0, "air": 0.625, "fat": 0.25, "lung": 0.1, "noise": 5.0}, 140, 1)
def test_an_offset_of_a_few_dozen_hu_is_told_where_air_is_in_view(shares, offset, sign):
    # Warned of, or refused where the rest of the values fits a CT badly too.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((UserWarning, InputError), match=r"Hounsfield units: .* shifted by about [+-]\d+") as caught:
            hounsfield_units(body(**shares) + np.float32(sign * offset), "A scan")
    named = int(re.search(r"about ([+-]\d+)", str(caught.value))[1])
    assert abs(named - sign * offset) <= 20


@pytest.mark.parametrize(("slope", "offset"), [(1, 0), (1, 60), (1, -70), (0.5, 0), (2, 0)])
def test_fat_and_soft_tissue_are_found_where_they_are_though_air_is_cut_off(slope, offset):
    cut = np.maximum(body(seed=3, noise=12), -125)
    fat, soft = tissue_peaks((cut * slope + offset).astype(np.float32).ravel())
    assert fat == pytest.approx(-100 * slope + offset, abs=8 * slope)
    assert soft == pytest.approx(50 * slope + offset, abs=8 * slope)


def test_values_of_which_none_is_above_0_are_told():
    with pytest.warns(UserWarning, match="no value is above 0, while soft tissue is near 50"):
        hounsfield_units(body().clip(None, -1), "A scan")


def noisy(noise, offset=0.0, lowest=-np.inf):
    """A subject at 1.5 mm or less, of so much noise from voxel to voxel, as thin slices at a low dose have."""
    hu = body(noise=0).repeat(3, 0).repeat(3, 1).repeat(3, 2)
    hu = hu + np.random.default_rng(0).normal(offset, noise, hu.shape)
    return hu.clip(lowest, None).astype(np.float32)


@pytest.mark.parametrize("lowest", [-1024, -3000])
@pytest.mark.parametrize("noise", [60, 100, 140])
def test_a_noisy_scan_is_taken_without_a_word(noise, lowest):
    hu = noisy(noise, 0, lowest)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hounsfield_units(hu, "A scan") is hu


@pytest.mark.parametrize("offset", [-1000, -400, 400, 1024])
def test_a_noisy_scan_on_another_scale_is_refused(offset):
    refusal(noisy(140, offset))


def test_noise_alone_is_refused():
    refusal(np.random.default_rng(0).normal(0, 400, SHAPE))
    refusal(np.random.default_rng(0).uniform(-1000, 1000, SHAPE))


@functools.cache
def subject():
    return phantom(0, network_grid(8.0)).image.array


@pytest.mark.parametrize("low", [-110, -105, -100, -95])
@pytest.mark.parametrize("fat", [0.02, 0.06, 0.2])
def test_values_cut_off_at_the_value_of_fat_are_no_tenth(low, fat):
    hu = body(fat=fat).clip(low, 240)
    assert hounsfield_units(hu, "A scan") is hu


@pytest.mark.parametrize("skin", [-300, 0, 150, 1000])
@pytest.mark.parametrize("covered", [0.2, 0.4, 0.6, 0.8])
def test_a_body_on_a_flat_board_is_taken(skin, covered):
    """As in radiotherapy: a plane that shows the board's top in part and one that shows all of it are alike."""
    hu = subject().copy()
    lowest = int(np.flatnonzero((hu > -500).any(axis=(0, 2)))[-1])
    hu[3:-3, lowest - 1] = np.maximum(hu[3:-3, lowest - 1], -1000 + covered * (1000 + skin))
    hu[3:-3, lowest] = np.maximum(hu[3:-3, lowest], skin)
    assert hounsfield_units(hu, "A scan") is hu


def test_a_body_that_begins_in_air_is_no_step():
    hu = body()
    hu[:, :, :5] = -1000 + np.random.default_rng(0).normal(0, 12, hu[:, :, :5].shape)
    assert hounsfield_units(hu, "A scan") is hu


@pytest.mark.parametrize("value", [0, -300, 40])
def test_a_padding_among_the_values_of_tissue_is_told(value):
    """As a tool leaves it that fills up with 0 what it has no data for."""
    padded = outside_of_the_circle(body(), value)
    with pytest.warns(UserWarning, match=rf"A scan is {value} in \d+% of its voxels, at its corners too"):
        assert hounsfield_units(padded, "A scan") is padded


def test_a_background_that_was_cleared_to_0_is_told():
    hu = body()
    hu[hu < -500] = 0
    with pytest.warns(UserWarning, match=r"A scan is 0 in \d+% of its voxels, .* put -1000 there"):
        hounsfield_units(hu, "A scan")


@pytest.mark.parametrize("value", [1e20, -3.4e38, 9.97e36])
@pytest.mark.parametrize("edge", [1, 7])
def test_values_that_stand_for_no_data_are_refused_within_a_scan(value, edge):
    hu = body()
    hu[18 : 18 + edge, 12 : 12 + edge, 5 : 5 + edge] = np.float32(value)
    assert "its values reach from" in refusal(hu)


@pytest.mark.parametrize("value", [1e20, -3.4e38])
def test_values_that_stand_for_no_data_around_a_scan_are_padding(value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = hounsfield_units(outside_of_the_circle(body(), value), "A scan")
    np.testing.assert_array_equal(found, outside_of_the_circle(body(), -1000))
