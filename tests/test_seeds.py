"""No two runs share a derived seed; draws share what `overlap` says and no more."""

import ast
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperlib.names import ROOT
from paperlib.seeds import derive, draws, generator, overlap

PLACE_OF_WHAT = {"derive": 1, "generator": 1, "draws": 4}  # among the arguments


def words_of(text: str) -> set[str]:
    """Every word for which a Python text draws."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=given) if (
                name in PLACE_OF_WHAT
            ):
                named = [key.value for key in node.keywords if key.arg == "what"]
                for what in [*given[PLACE_OF_WHAT[name] :][:1], *named]:
                    if isinstance(what, ast.Constant) and isinstance(what.value, str):
                        found.add(what.value)
    return found


def words() -> set[str]:
    """Every word for which the project draws, and "images", where a call says nothing."""
    files = [file for folder in ("paperlib", "notebooks") for file in (ROOT / folder).rglob("*.py")]
    return {"images"}.union(*(words_of(file.read_text(encoding="utf-8")) for file in files))


def test_the_words_are_found():
    text = """
derive(seed, "one")
x = torch.rand(generator=seeds.generator(0, "two", 3))
draws(9, 2, 1, seed, "three")
draws(9, 2, 1, seed, what="four")
derive(seed, what)
torch.Generator("cpu")
"""
    assert words_of(text) == {"one", "two", "three", "four"}


def test_no_derived_seed_is_equal_between_any_two_runs():
    keys = [*product(range(1000), sorted(words()), range(6))]
    derived = {derive(*key) for key in keys}
    assert len(derived) == len(keys)
    assert min(derived) >= 0
    assert max(derived) < 2**63


def test_large_seeds_and_words_that_run_into_numbers():
    keys = [(1, "2", 3), (12, "", 3), (1, "23", 0), (1, "", 23), (2**32 - 1, "x", 0)]
    assert len({derive(*key) for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("key", "derived"),
    [
        ((0, "images"), 7713147389370465590),
        ((0, "images", 0), 7713147389370465590),
        ((0, "images", 1), 4166343256547014496),
        ((1, "images"), 237492088350982334),
        ((7, "boxes", 3), 3497628899901547761),
        ((2**32 - 1, "one image", 12), 7986385458794516275),
    ],
)
def test_a_derived_seed_stays_what_it_is(key, derived):
    assert derive(*key) == derived
    assert generator(*key).initial_seed() == derived


def test_what_is_drawn_stays_what_it_is():
    drawn = torch.randint(1000, (3,), generator=generator(0, "images"))
    assert drawn.tolist() == [676, 320, 493]


def test_generators_of_the_same_seed_draw_the_same_and_leave_torchs_own_alone():
    state = torch.get_rng_state()
    first = torch.rand(4, generator=generator(3, "boxes", 1))
    assert torch.equal(torch.rand(4, generator=generator(3, "boxes", 1)), first)
    for other in ((4, "boxes", 1), (3, "boxes", 2), (3, "images", 1)):
        assert not torch.equal(torch.rand(4, generator=generator(*other)), first)
    assert torch.equal(torch.get_rng_state(), state)


@st.composite
def plans(draw):
    """A pool, the size of a draw that it holds, and a number of draws."""
    pool = draw(st.integers(1, 40))
    return pool, draw(st.integers(1, pool)), draw(st.integers(1, 8))


@given(plans(), st.integers(0, 2**32 - 1))
def test_draws_share_what_overlap_says(plan, seed):
    pool, count, number = plan
    drawn = [set(one.tolist()) for one in draws(pool, count, number, seed)]
    assert len(drawn) == number
    assert all(len(one) == count and one <= set(range(pool)) for one in drawn)
    shared = 0
    for index, one in enumerate(drawn):
        others = set().union(*drawn[:index], *drawn[index + 1 :])
        shared += len(one & others)
    assert overlap(pool, count, number) == pytest.approx(shared / (number * count))
    if number * count <= pool:
        assert shared == 0
    else:
        assert set().union(*drawn) == set(range(pool))


def test_draws_of_other_seeds_and_words_are_others():
    first = draws(1000, 20, 2, 0)
    assert torch.equal(torch.stack(draws(1000, 20, 2, 0)), torch.stack(first))
    for other in (draws(1000, 20, 2, 1), draws(1000, 20, 2, 0, "boxes")):
        assert not torch.equal(other[0], first[0])
    assert first[0].tolist() != sorted(first[0].tolist())


@pytest.mark.parametrize(
    ("pool", "count", "number"), [(3, 4, 1), (3, 0, 1), (3, 1, 0), (0, 1, 1), (3, -1, 1)]
)
def test_draws_that_cannot_be_are_refused(pool, count, number):
    with pytest.raises(ValueError, match=f"{number} draws of {count} boxes: the pool has {pool}"):
        draws(pool, count, number, 0, "boxes")
