"""`mics experiment`: what it refuses; the experiments are tested with the package."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table7"], "table3"),
        (["table2", "--budget", "huge"], "smoke"),
    ],
)
def test_of_unknown_names_the_known_ones_are_told(run, tmp_path, arguments, message):
    result = run("experiment", *arguments, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_missing_data(refused, tmp_path):
    pytest.importorskip("lightning")
    assert "needs data" in refused("experiment", "table2", "--budget", "small", "-o", tmp_path / "out")


def test_without_lightning_it_says_what_to_install(refused, without_lightning, tmp_path):
    assert "mics-registration[train]" in refused("experiment", "table2", "-o", tmp_path / "out")
