"""Plans: paths beside the file, names of what is shipped, and what is refused."""

from pathlib import Path

import pytest

from mics.data.cohorts.case import Case, Cohort
from mics.errors import InputError
from mics.pipeline.plan import ExistingModel, load_plan
from mics.pipeline.possible import require_held_out
from mics.training.recipe import load_recipe


def written(folder, text):
    path = folder / "plan.yaml"
    path.write_text(text)
    return path


def test_files_beside_the_plan_are_found_and_names_stay(tmp_path):
    (tmp_path / "mine.yaml").write_text("")
    text = "cohorts: {learn2reg: data}\npretrain: {recipe: mine.yaml}\nsegmentation: {model: organs-small}\n"
    plan = load_plan(written(tmp_path, text))
    assert plan.cohorts == {"learn2reg": str(tmp_path / "data")}
    assert plan.pretrain.recipe == str(tmp_path / "mine.yaml")
    assert plan.finetune.recipe == "finetune"
    assert plan.segmentation == ExistingModel(model="organs-small")
    assert (plan.spacing_mm, plan.size) == (2.0, (192, 160, 256))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cohorts: {}", "cohorts"),
        ("cohorts: {learn2reg: x}\ncohort: y", "cohort: Extra inputs"),
        ("cohorts: {kits19: x}", "finetune_cohort learn2reg is not among its cohorts"),
        ("cohorts: {learn2reg: x}\npretrain: {recipe: a, epochs: 3}", "pretrain.epochs"),
        ("cohorts: {learn2reg: x}\nsegmentation_validation: {kits19: [a]}", "segmentation_validation kits19"),
        ("just words", "is not a plan"),
        ("cohorts: [", "not valid YAML"),
    ],
)
def test_a_plan_that_is_amiss_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_plan(written(tmp_path, text))
    with pytest.raises(InputError, match="cannot be read"):
        load_plan(tmp_path / "nowhere.yaml")


def test_the_shipped_plan_is_the_papers_and_its_cohorts_lie_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = load_plan(Path("paper"))
    assert set(plan.cohorts) == {"learn2reg", "pancreas-ct", "kits19", "msd-liver", "msd-pancreas", "msd-spleen"}
    assert plan.cohorts["kits19"] == str(tmp_path / "kits19" / "data")
    assert len(plan.segmentation_validation["pancreas-ct"]) == 13
    assert not plan.unannotated
    stages = (plan.segmentation, plan.pretrain, plan.finetune)
    recipes = [load_recipe(stage.recipe, stage.set) for stage in stages]
    assert [recipe.preset for recipe in recipes] == ["organs-paper", "paper", "paper"]
    assert [recipe.epochs for recipe in recipes[1:]] == [200, 300]
    (tmp_path / "paper").write_text("cohorts: {learn2reg: own}")  # a file of that name is meant where there is one
    assert load_plan(Path("paper")).cohorts == {"learn2reg": str(tmp_path / "own")}


def test_nobody_to_be_held_out_of_the_segmentation_who_is_not_there_or_is_held_out_anyhow(tmp_path):
    text = "cohorts: {learn2reg: x, kits19: y}\nsegmentation_validation: {kits19: [a]}\n"
    plan = load_plan(written(tmp_path, text))
    for cases in ([], [Case("a", None, None, split="val")]):
        with pytest.raises(InputError, match="names a, who is not among the training subjects of kits19"):
            require_held_out(plan, {"kits19": Cohort(cases)})
    require_held_out(plan, {"kits19": Cohort([Case("a", None, None)])})
