"""`mics pipeline`: what is refused before anything is written."""

import pytest


@pytest.fixture
def plan(tmp_path):
    """A plan whose only cohort is an empty folder."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "plan.yaml"
    path.write_text("cohorts: {learn2reg: data}\nsegmentation: {model: organs-small}\n")
    return path


def test_a_bad_plan_folder_or_recipe_is_refused_before_anything_is_written(refused, plan, tmp_path):
    pytest.importorskip("lightning")
    assert "expected AbdomenCTCT_dataset.json" in refused("pipeline", plan, "-o", tmp_path / "out")
    plan.write_text(plan.read_text() + "finetune: {recipe: no-such-recipe}\n")
    assert "There is no recipe no-such-recipe" in refused("pipeline", plan, "-o", tmp_path / "out")
    for stage, message in (
        ("segmentation: {model: none-such}", "There is no model none-such"),
        ("segmentation: {model: mics-small}", "is for registration, not for segmentation"),
        ("pretrain: {recipe: organs-small}", "needs a recipe for registration"),
        ("pretrain: {recipe: mics-small, initial: none-such}", "There is no model none-such"),
        ("pretrain: {recipe: mics-small}", "another shape"),
    ):
        plan.write_text(f"cohorts: {{learn2reg: data}}\n{stage}\n")
        assert message in refused("pipeline", plan, "-o", tmp_path / "out")
    plan.write_bytes(b"\xff\xfe")
    assert "plan.yaml is not valid YAML" in refused("pipeline", plan, "-o", tmp_path / "out")
    assert "cannot be read" in refused("pipeline", tmp_path / "nowhere.yaml", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_lightning_it_says_what_to_install(refused, plan, without_lightning, tmp_path):
    assert "mics-registration[train]" in refused("pipeline", plan, "-o", tmp_path / "out")
