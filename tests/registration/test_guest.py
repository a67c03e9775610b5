"""`register` as a guest in somebody's process, which has its own ideas of gradients, precision, threads and byte order."""

import json
import multiprocessing
import random
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import mics
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image
from mics.network.weights import load_model
from mics.registration.inputs import load_pair

GRID = Grid((44, 36, 20), (5, 5, 8), (0, 0, 0))


def body(shift=0, air=-1000):
    places = np.indices(GRID.size).astype(float) - np.array([22 + shift, 18, 10]).reshape(3, 1, 1, 1)
    inside = (places[0] / 18) ** 2 + (places[1] / 14) ** 2 < 1
    noise = np.random.default_rng(0).normal(0, 30, GRID.size)
    return np.where(inside, 40 + noise, air).astype(np.float32)


@pytest.fixture(scope="module")
def pair(tiny_model):
    """Arguments for a registration of seconds that is refined all the same."""
    return {
        "fixed": Image(body(), GRID),
        "moving": Image(body(1), GRID),
        "affine": "none",
        "model": tiny_model,
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def alone(pair):
    """What comes out in a process of its own."""
    return mics.register(**pair).moving_to_fixed.displacement_mm


@pytest.mark.parametrize("context", [pytest.param(torch.no_grad, marks=pytest.mark.nightly), torch.inference_mode])
def test_gradients_that_the_caller_has_turned_off(pair, alone, context):
    with context():
        result = mics.register(**pair)
        assert not torch.is_grad_enabled()
    np.testing.assert_array_equal(result.moving_to_fixed.displacement_mm, alone)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_double_precision_as_the_callers_default(pair, alone, double):
    result = mics.register(**pair)
    assert torch.get_default_dtype() == torch.float64
    np.testing.assert_allclose(result.moving_to_fixed.displacement_mm, alone, atol=0.05)


def test_numpy_that_raises(pair, alone):
    with np.errstate(all="raise"):
        result = mics.register(**pair)
        assert set(np.geterr().values()) == {"raise"}
    np.testing.assert_array_equal(result.moving_to_fixed.displacement_mm, alone)


def test_another_default_device(pair, alone):
    with torch.device("meta"):  # holds no numbers: nothing that lands there can be computed with
        result = mics.register(**pair)
        assert torch.empty(1).device.type == "meta"
    np.testing.assert_array_equal(result.moving_to_fixed.displacement_mm, alone)


def test_the_callers_random_numbers_stay_as_they_are(pair):
    def states():
        name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the state that all share
        return torch.get_rng_state().tolist(), (name, keys.tolist(), *rest), random.getstate()

    before = states()
    mics.register(**pair)
    assert states() == before


def test_models_are_in_single_precision_whatever_the_default(tiny_model, double):
    assert {tensor.dtype for tensor in load_model(tiny_model).network.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("dtype", [">u2", ">i4", "u4", "u8"])
def test_labels_of_any_byte_order_and_size(pair, tmp_path, dtype):
    labels = Image(np.where(body() > -500, 614454277 if dtype in ("u4", "u8", ">i4") else 40000, 0).astype(dtype), GRID)
    result = mics.register(**pair, fixed_labels=labels, moving_labels=labels, refine="none")
    assert list(result.summary["labels"]["moving_to_fixed"]["dice"]) == [str(int(labels.array.max()))]
    assert set(np.unique(result.moving_labels_warped.array)) <= set(np.unique(labels.array))
    result.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["labels"] is not None


def _in_a_child(arguments, queue):
    try:
        mics.register(**arguments, refine="none")
        queue.put("went through")
    except InputError as error:
        queue.put(str(error))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.parametrize(("threads", "message"), [(2, "spawn"), (1, "went through")])
def test_a_fork_of_a_process_that_has_registered_is_told(pair, alone, threads, message):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        queue = multiprocessing.get_context("fork").SimpleQueue()
        child = multiprocessing.get_context("fork").Process(target=_in_a_child, args=(pair, queue))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert message in queue.get()
    finally:
        torch.set_num_threads(before)


def test_warnings_of_pairs_read_in_threads_go_to_their_own_pair(tmp_path):
    mics.write_image(Image(body(), GRID), tmp_path / "sound.nii.gz")
    mics.write_image(Image((body(air=40) + 60).clip(1), GRID), tmp_path / "doubtful.nii.gz")
    mics.write_image(Image(body(1), GRID), tmp_path / "other.nii.gz")
    show = warnings.showwarning
    with warnings.catch_warnings(record=True), ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("always")
        jobs = [
            pool.submit(load_pair, fixed=tmp_path / f"{name}.nii.gz", moving=tmp_path / "other.nii.gz")
            for name in ("doubtful", "sound") * 12
        ]
        found = [job.result()[1] for job in jobs]
    assert warnings.showwarning is show
    assert [len(messages) for messages in found] == [1, 0] * 12


def test_a_warning_of_another_thread_is_shown_and_belongs_to_no_pair(tmp_path, monkeypatch):
    import mics.registration.inputs as inputs

    plain = inputs.read_image

    def read(path, series):
        other = threading.Thread(target=lambda: warnings.warn("of another thread", UserWarning, stacklevel=1))
        other.start()
        other.join()
        return plain(path, series)

    mics.write_image(Image(body(), GRID), tmp_path / "sound.nii.gz")
    mics.write_image(Image(body(1), GRID), tmp_path / "other.nii.gz")
    monkeypatch.setattr(inputs, "read_image", read)
    with pytest.warns(UserWarning, match="of another thread"):
        _, messages = load_pair(fixed=tmp_path / "sound.nii.gz", moving=tmp_path / "other.nii.gz")
    assert messages == []
