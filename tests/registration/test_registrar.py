import logging

import numpy as np
import pytest
import torch

import mics
from mics.errors import InputError
from mics.network import weights
from mics.registration.register import register
from mics.registration.registrar import Registrar


def test_it_gives_what_register_gives_time_after_time(patients, options):
    once = register(**patients, **options)
    registrar = Registrar(**options)
    for _ in range(2):
        again = registrar(**patients)
        np.testing.assert_array_equal(again.moving_to_fixed.displacement_mm, once.moving_to_fixed.displacement_mm)
        np.testing.assert_array_equal(again.fixed_to_moving.displacement_mm, once.fixed_to_moving.displacement_mm)
        assert again.summary["labels"] == once.summary["labels"]


def test_models_are_loaded_once(patients, options, monkeypatch):
    registrar = Registrar(**options)
    monkeypatch.setattr(weights, "load_tensors", lambda _: pytest.fail("read again"))
    registrar(patients["fixed"], patients["moving"])


def test_a_loaded_model_and_a_device_of_torch(patients, options, tiny_model):
    model = mics.load_model(tiny_model)
    registrar = Registrar(**{**options, "model": model, "device": torch.device("cpu")})
    assert registrar.model is model
    assert registrar.device == torch.device("cpu")
    found = registrar(patients["fixed"], patients["moving"])
    plain = register(patients["fixed"], patients["moving"], **options)
    np.testing.assert_array_equal(found.moving_to_fixed.displacement_mm, plain.moving_to_fixed.displacement_mm)


def test_a_segmentation_model_is_refused(options):
    with pytest.raises(InputError, match="is for segmentation, not for registration"):
        Registrar(**{**options, "model": mics.load_model("organs-small")})


def test_volumes_of_other_libraries_are_registered_alike_and_come_back_in_kind(patients, options, monkeypatch):
    # Half precision would make more of the headers' rounding.
    monkeypatch.setattr("mics.network.precision.half_precision_pays", lambda _: False)
    registrar = Registrar(**options)
    plain = registrar(**patients)
    fixed, moving = patients["fixed"].to_sitk(), patients["moving"].to_nibabel()
    labels = {name: patients[name].to_ants() for name in ("fixed_labels", "moving_labels")}
    found = registrar(fixed, moving, **labels)
    np.testing.assert_allclose(found.moving_to_fixed.displacement_mm, plain.moving_to_fixed.displacement_mm, atol=2e-3)
    assert found.summary["labels"]["moving_to_fixed"]["dice"] == pytest.approx(
        plain.summary["labels"]["moving_to_fixed"]["dice"], abs=1e-3
    )
    warped = found.moving_warped.to_sitk()
    assert (warped.GetSize(), warped.GetOrigin()) == (fixed.GetSize(), fixed.GetOrigin())
    np.testing.assert_allclose(found.fixed_warped.to_nibabel().affine, moving.affine, atol=1e-3)


def test_what_it_does_is_logged(patients, options, caplog):
    with caplog.at_level(logging.INFO, logger="mics"):
        Registrar(**options)(patients["fixed"], patients["moving"])
    message = [record.getMessage() for record in caplog.records if record.name == "mics.registration"]
    assert message[0].startswith("Reading: ")
    assert any(line.startswith("Network, steps: 2: ") for line in message)
    assert message[-1].startswith("Verdict: ")


def test_seconds_of_reading_count_though_time_has_passed_since(patients, options):
    registrar = Registrar(**options)
    inputs = registrar.read(patients["fixed"], patients["moving"])
    seconds = registrar.register(inputs).summary["seconds"]
    assert seconds["read"] == pytest.approx(inputs.seconds, abs=0.01)
    parts = sum(value for name, value in seconds.items() if name != "total")
    assert seconds["total"] == pytest.approx(parts, rel=0.2)
