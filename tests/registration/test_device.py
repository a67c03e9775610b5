import pytest
import torch

from mics.errors import InputError
from mics.registration.device import choose_device


def test_the_cpu_is_always_there():
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("count", "chosen"), [(0, "cpu"), (2, "cuda:0")])
def test_auto_takes_a_gpu_if_there_is_one(monkeypatch, count, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    assert choose_device("auto") == torch.device(chosen)


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_gpu_by_its_number(monkeypatch, name, index):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(name) == torch.device("cuda", index)


@pytest.mark.parametrize(("count", "message"), [(0, "no GPU"), (1, "only 1 GPU")])
def test_a_gpu_that_is_not_there_is_refused_and_the_cpu_offered(monkeypatch, count, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(InputError, match=rf"cuda:3.*{message}.*`device=cpu`"):
        choose_device("cuda:3")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:x", "", "CPU "])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="auto, cpu or cuda:N"):
        choose_device(name)
