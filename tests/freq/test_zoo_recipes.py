import pandas as pd
import pytest
import torch
from torch import nn

from paperlib.freq.variants import EPSILON
from paperlib.freq.zoo_evidence import FOLDER
from paperlib.freq.zoo_recipes import RECIPES, VARIANTS, mixed


def test_mixed_labels_say_what_the_images_are_mixed_of():
    labels = torch.arange(10)
    x = (labels / 10).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        images, shares = mixed(nn.Identity(), x, labels)
    torch.testing.assert_close(shares.sum(1), torch.ones(10))
    torch.testing.assert_close(images[:, 0, 0, 0], shares @ (labels / 10))
    assert ((shares > 0).sum(1) == 2).any()


@pytest.mark.parametrize(("name", "reach"), [("fgsm_rs", 1), ("pgd", 1), ("pgd_4", 0.5)])
def test_attacked_variants_reach_the_edge_of_their_ball_and_do_not_jump_over_it(name, reach):
    """A step is at most 1.25 of the radius, as in FGSM-RS; all steps together reach across."""
    epsilon, steps, step_size = VARIANTS[name].prepare.args
    assert epsilon == reach * EPSILON
    assert 0.5 * epsilon < step_size <= 1.25 * epsilon and steps * step_size > epsilon


def test_the_published_networks_were_trained_by_these_recipes():
    rows = pd.read_csv(FOLDER / "trainings.csv")
    for (dataset, architecture, variant), group in rows.groupby(
        ["dataset", "architecture", "variant"]
    ):
        recipe = RECIPES[dataset, architecture]
        assert (group.epochs == recipe.epochs).all()
        assert (group.learning_rate == recipe.learning_rate).all()
        assert (group.batch_size == recipe.batch_size).all()
        assert (group.weight_decay == VARIANTS[variant].weight_decay).all()
    assert {*RECIPES} == {*zip(rows.dataset, rows.architecture, strict=True)}
