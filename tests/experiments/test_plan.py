"""The grids of the paper as data: names, weights, recipes and what depends on what."""

from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.experiments import figure1, figure2, figure4, table2, table3, table4
from mics.experiments.budgets import BUDGETS
from mics.experiments.cells import Evaluate, Prepare, Train, cells_for, needs, recipe_of
from mics.experiments.plan import Measurement, PaperNetwork
from mics.experiments.run import EXPERIMENTS
from mics.experiments.study import Study
from mics.losses.total import PAPER_WEIGHTS
from mics.training.recipe import load_recipe


def study(budget):
    return Study(Path("out"), budget, Path("data"), "phantom:48")


def test_at_the_papers_budget_recipes_are_the_papers():
    network = PaperNetwork(steps=1, delta=1e-3, epsilon=1.0)
    recipe = recipe_of(study("paper"), Train(network, "finetune"))
    assert recipe.losses == pytest.approx(
        {"similarity": 1, "segmentation": 1, "gradient": 0.1, "jacobian": 1e-3, "inverse": 1.0}
    )
    assert (recipe.steps, recipe.batch_size, recipe.epochs, recipe.crop) == (1, 4, 300, (128, 128, 128))
    two = recipe_of(study("paper"), Train(PaperNetwork(steps=2), "pretrain"))
    assert (two.steps, two.batch_size, two.supervised_organs) == (2, 2, tuple(range(1, 12)))
    assert two.losses == PAPER_WEIGHTS


def test_table_4_and_figure_4_are_of_a_network_pretrained_for_48_hours():
    assert figure4.cells(sweep_ends=False)[0] == table4.cells(sweep_ends=False)[0]
    for network in (table4.OURS, table4.PREDECESSOR):
        stages = [recipe_of(study("paper"), Train(network, stage)) for stage in ("pretrain", "finetune")]
        assert [recipe.epochs for recipe in stages] == [200, 300]  # about 100 epochs are 24 hours
        usual = PaperNetwork(network.steps, network.gamma, network.delta, network.epsilon)
        assert recipe_of(study("paper"), Train(usual, "pretrain")).epochs == 100
        assert usual.name != network.name


@pytest.mark.parametrize(("budget", "iterations"), [("small", 60 + 2 * 70), ("paper", 120_000)])
def test_lapirn_is_trained_in_one_stage_by_its_own_recipe_with_labels(budget, iterations):
    training = Train(table4.LAPIRN, "lapirn")
    assert cells_for([table4.LAPIRN]) == [Prepare("lapirn"), training]
    assert needs(training) == [Prepare("lapirn")]
    recipe = recipe_of(study(budget), training)
    assert recipe.preset == "lapirn"
    assert recipe.epochs * recipe.iterations_per_epoch * recipe.batch_size == iterations
    assert recipe.losses["ncc_pyramid"] == recipe.losses["segmentation"] == 1
    assert recipe.losses["similarity"] == recipe.losses["inverse"] == 0
    assert study(budget).model(table4.LAPIRN) == Path("out/runs/lapirn-lapirn/model.safetensors")


def test_elsewhere_weights_differ_from_the_recipes_by_the_papers_factors():
    own = load_recipe("mics-small").losses
    weights = PaperNetwork(steps=2, gamma=1.0, delta=0.0, epsilon=50.0).weights(own)
    assert weights["similarity"] == own["similarity"]
    assert weights["gradient"] == pytest.approx(10 * own["gradient"])
    assert weights["jacobian"] == 0
    assert weights["inverse"] == pytest.approx(5 * own["inverse"])


def test_the_weight_of_a_loss_that_is_not_the_papers_stays():
    weights = PaperNetwork(steps=2, gamma=1.0).weights({**PAPER_WEIGHTS, "bending": 0.7})
    assert weights == pytest.approx({**PAPER_WEIGHTS, "gradient": 1.0, "bending": 0.7})


def test_no_pretraining_is_one_stage_and_unsupervised_uses_no_organ():
    none, unsupervised = PaperNetwork(steps=1, organs=None), PaperNetwork(steps=1, organs=())
    assert [cell.name for cell in cells_for([none])] == ["cases-finetune", f"finetune-{none.name}"]
    stages = [cell for cell in cells_for([unsupervised]) if isinstance(cell, Train)]
    recipes = [recipe_of(study("small"), stage) for stage in stages]
    assert [recipe.supervised_organs for recipe in recipes] == [(), None]


def test_every_cell_comes_once_and_after_what_it_needs():
    wanted = [*table2.cells(sweep_ends=False), *table3.cells(sweep_ends=False), *figure1.cells(sweep_ends=False)]
    cells = cells_for([*wanted, *figure2.cells(sweep_ends=False)])
    assert len(set(cells)) == len({cell.name for cell in cells}) == len(cells)
    for place, cell in enumerate(cells):
        assert all(need in cells[:place] for need in needs(cell)), cell.name
    # Table 2's networks are two of Table 3's six.
    assert sum(isinstance(cell, Train) for cell in cells_for(wanted[:13])) == 12
    measured = Evaluate(Measurement(PaperNetwork(steps=2), 4))
    assert needs(measured) == [Train(PaperNetwork(steps=2), "finetune")]
    assert needs(Train(PaperNetwork(steps=2), "finetune")) == [
        Prepare("finetune"),
        Train(PaperNetwork(steps=2), "pretrain"),
    ]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_training_has_a_recipe_at_every_budget(name, budget):
    module = import_module(f"mics.experiments.{name}")
    trainings = [cell for cell in cells_for(module.cells(sweep_ends=False)) if isinstance(cell, Train)]
    assert trainings
    for cell in trainings:
        recipe = recipe_of(study(budget), cell)
        assert (recipe.task, recipe.steps) == ("registration", cell.network.steps)
        # From the pretrained weights to the fine-tuning the network keeps its shape.
        assert recipe.preset == recipe_of(study(budget), Train(cell.network, cell.network.stages[-1])).preset


def test_figure_2_sweeps_what_the_paper_sweeps():
    networks = {cell.network for cell in figure2.cells(sweep_ends=False) if isinstance(cell, Measurement)}
    # γ = 0.1 with δ = ε = 0 is a point of its own sweep alone.
    assert len(networks) == 5 + 5 + 6
    assert {n.gamma for n in networks if n.delta == n.epsilon == 0} == {1e-3, 1e-2, 1e-1, 1, 10}
    assert len(figure2.cells(sweep_ends=True)) == 6
