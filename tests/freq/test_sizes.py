import ast

import pytest

from paperlib import seeds
from paperlib.freq import sizes
from paperlib.freq.attacks import ATTACKS
from paperlib.freq.variants import OPENMOJI_IMAGES
from paperlib.names import PROFILES
from paperlib.paths import NOTEBOOKS

TEST_IMAGES = {"openmoji": OPENMOJI_IMAGES["test"], "cifar10": 10_000}


def calls(name):
    """Every call of a method in a notebook, as (method, its arguments as text)."""
    tree = ast.parse((NOTEBOOKS / f"{name}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, [ast.unparse(argument) for argument in node.args]


def terms(node):
    """What a sum or product is made of; not what is inside a call."""
    yield node
    for part in ("left", "right", "operand"):
        if hasattr(node, part):
            yield from terms(getattr(node, part))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", ["01_spectrum", "03_occlusion", "05_cutoffs"])
def test_draws_share_no_image(name, profile):
    row, datasets = sizes.SIZES[name][profile], sizes.DATASETS[name]
    pool = TEST_IMAGES[datasets[-1] if profile == "paper" else datasets[0]]
    assert seeds.overlap(pool, row.images, row.seeds) == 0


@pytest.mark.parametrize("name", ["01_spectrum", "05_cutoffs"])
def test_a_notebook_with_several_draws_takes_them_together(name):
    found = list(calls(name))
    assert ("draws", ["run.sizes.images", "run.sizes.seeds", "seed"]) in found
    assert "sample" not in dict(found)


@pytest.mark.parametrize("name", sizes.SIZES)
def test_no_seed_is_computed_in_a_notebook(name):
    tree = ast.parse((NOTEBOOKS / f"{name}.py").read_text())
    sums = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp | ast.UnaryOp)]
    operands = {n.id for node in sums for n in terms(node) if isinstance(n, ast.Name)}
    assert "seed" not in operands
    assert "seed" in {
        getattr(n, "id", "") for n in terms(ast.parse("2 * -(seed + 1)").body[0].value)
    }


def test_attacks_may_change_what_is_usual_in_every_profile():
    usual = {name: kind.epsilon for name, kind in ATTACKS.items() if kind.epsilon is not None}
    assert [row.epsilon for row in sizes.SIZES["02_rct"].values()] == [usual] * len(PROFILES)
