"""`mics experiment`: what it refuses; the experiments are tested with the package."""

import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["table7"], "no experiment 'table7'"),
        (["table2", "--budget", "huge"], "no budget 'huge'"),
        (["table2", "--budget", "small"], "needs data"),
    ],
)
def test_unknown_names_and_missing_data(refused, tmp_path, arguments, told):
    pytest.importorskip("lightning")
    assert told in refused("experiment", *arguments, "-o", tmp_path / "out")


def test_without_lightning_it_says_what_to_install(refused, monkeypatch, tmp_path):
    for module in [name for name in sys.modules if name.startswith(("mics.experiments", "mics.training"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "lightning", None)
    assert "mics-registration[train]" in refused("experiment", "table2", "-o", tmp_path / "out")
