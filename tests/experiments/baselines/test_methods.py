"""Which methods can be asked for, and what is said of those that cannot run here."""

import pytest

from mics.errors import InputError
from mics.experiments.baselines.methods import METHODS, Choice, choose


def test_names_and_models_are_told_apart():
    choices, messages = choose(["affine", "mics", "network=runs/a", "predecessor=runs/b"])
    assert choices == [
        Choice("affine"),
        Choice("mics"),
        Choice("network", "runs/a"),
        Choice("predecessor", "runs/b"),
    ]
    assert messages == []


@pytest.mark.parametrize(
    ("word", "message"),
    [("magic", "There is no method 'magic'; choose of unregistered"), ("affine=x", "takes no model")],
)
def test_what_is_not_a_choice_is_refused(word, message):
    with pytest.raises(InputError, match=message):
        choose([word])


def test_what_cannot_run_here_is_skipped_with_a_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "")
    choices, (no_model, no_other, no_program) = choose(["predecessor", "lapirn", "deeds"])
    assert choices == []
    assert "needs a model, predecessor=RUN" in no_model
    assert "needs a model, lapirn=RUN, trained by mics train lapirn-small" in no_other
    assert "deedsBCV is not on the PATH" in no_program


def test_every_adapter_can_be_found():
    from importlib import import_module

    for method in METHODS.values():
        module, _, function = method.adapter.partition(":")
        assert callable(getattr(import_module(module), function))
