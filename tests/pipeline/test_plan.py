"""Plans: paths beside the file, names of what is shipped, and what is refused."""

import pytest

from mics.errors import InputError
from mics.pipeline.plan import Given, load_plan


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
    assert plan.segmentation == Given(model="organs-small")
    assert (plan.spacing_mm, plan.size) == (2.0, (192, 160, 256))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cohorts: {}", "cohorts"),
        ("cohorts: {learn2reg: x}\ncohort: y", "cohort: Extra inputs"),
        ("cohorts: {kits19: x}", "finetune_cohort learn2reg is not among its cohorts"),
        ("cohorts: {learn2reg: x}\npretrain: {recipe: a, epochs: 3}", "pretrain.epochs"),
        ("just words", "is not a plan"),
        ("cohorts: [", "not valid YAML"),
    ],
)
def test_a_plan_that_is_amiss_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_plan(written(tmp_path, text))
    with pytest.raises(InputError, match="cannot be read"):
        load_plan(tmp_path / "nowhere.yaml")
