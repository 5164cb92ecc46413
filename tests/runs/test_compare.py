"""A run beside the published one: what is within tolerance, and the verdict."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from paperlib.notebook.claims import Check, Claim, Measurement
from paperlib.runs import compare
from paperlib.runs.compare import Part, compare_claim, compare_figure, excess, verdict

R, S = compare.RELATIVE, compare.SPREAD
CLAIM = Claim(
    id="toy",
    paper="p",
    where="w",
    statement="s",
    reported=None,
    source="s",
    quantity="q",
    unit="u",
    check=Check(op=">", value=10),
    dataset="cifar10",
    notebook="01_one",
)


def measured(*values):
    named = {"claim": "toy", "profile": "default", "dataset": "openmoji", "altered": ""}
    return Measurement(values=values, seed=0, scale="s", source="s", note="", **named)


def write(file, **columns):
    pd.DataFrame(columns).to_csv(file, index=False)
    return file


def test_a_number_may_be_off_by_a_share_of_itself_and_of_the_spread():
    published = np.array([100.0, -100.0, 0.0])
    allowed = np.array([100 * R + 7 * S, 100 * R + 7 * S, 7 * S])
    for sign in (-1, 1):
        assert (excess(published + sign * 0.99 * allowed, published, 7) <= 1).all()
        assert (excess(published + sign * 1.01 * allowed, published, 7) > 1).all()


def test_what_is_no_number_is_within_tolerance_of_itself_alone():
    nan, inf = np.nan, np.inf
    assert excess(np.array([nan, inf, 0.0]), np.array([nan, inf, 0.0]), 0).tolist() == [0, 0, 0]
    off = excess(np.array([nan, 1.0, inf, -inf, 1.0]), np.array([1.0, nan, 1.0, inf, 0.0]), 0)
    assert (off > 1).all()


@pytest.mark.parametrize(
    ("ours", "outside", "worst"),
    [
        ((20.0, 30.0), 0, ""),
        ((20.0 + 20 * R + 10 * S - 1e-6, 30.0), 0, ""),
        ((20.0, 31.0), 1, "31, published 30"),
        ((-20.0, -30.0), 2, "-30, published 30"),  # two values so far apart decide nothing
        ((20.0,), 2, "1 values, published 2"),
    ],
)
def test_a_claim(ours, outside, worst):
    part = compare_claim(CLAIM, measured(*ours), measured(20.0, 30.0))
    assert (part.outside, part.worst) == (outside, worst)
    assert part.decisive == bool(outside)


def test_a_claim_of_another_status_is_outside_whatever_its_values():
    part = compare_claim(CLAIM, measured(9.99), measured(10.01))
    assert (part.outside, part.decisive) == (1, True)
    assert part.worst == "disagrees (9.99), published scaled-down (10.01)"
    part = compare_claim(CLAIM, measured(-20.0, -20.5), measured(20.0, 20.5))
    assert (part.outside, part.decisive) == (2, True)
    assert part.worst == "disagrees (-20.25), published scaled-down (20.25)"


def test_a_figure_of_few_values_has_none_outside_of_a_map_a_few_may_be(tmp_path):
    count = round(2 / compare.OUTSIDE)
    published = write(tmp_path / "curve.csv", place=range(count), name="a", y=1.0)
    y = np.ones(count)
    for outside, decisive in ((0, False), (1, False), (2, False), (3, True)):
        y[:outside] = -1
        ours = write(tmp_path / "ours.csv", place=range(count), name="a", y=y)
        parts = compare_figure("01_one", ours, published)
        assert [part.outside for part in parts] == [0, 0, outside]
        assert [part.decisive for part in parts] == [False, False, decisive]
    assert parts[2].name == "figure curve, y"
    assert parts[2].worst == "row 2: -1.0, published 1.0"
    few = write(tmp_path / "few.csv", y=[1.0, 2.0])
    (part,) = compare_figure("01_one", write(tmp_path / "ours.csv", y=[1.0, 3.0]), few)
    assert part.decisive
    assert part.farthest == pytest.approx(1 / (2 * R + 1 * S))


def test_words_must_be_the_same_and_what_a_clock_measured_is_left_out(tmp_path):
    published = write(tmp_path / "bars.csv", case=["a", "b"], seconds=[1.0, 2.0])
    ours = write(tmp_path / "ours.csv", case=["a", "c"], seconds=[5.0, 9.0])
    (part,) = compare_figure("01_one", ours, published, ["seconds"])
    assert (part.outside, part.worst) == (1, "row 3: c, published b")
    assert len(compare_figure("01_one", ours, published)) == 2


@pytest.mark.parametrize("columns", [{"y": [1.0]}, {"z": [1.0, 2.0]}, None])
def test_a_table_of_another_shape_or_none_is_outside_whole(tmp_path, columns):
    published = write(tmp_path / "curve.csv", y=[1.0, 2.0])
    ours = tmp_path / "ours.csv"
    if columns:
        write(ours, **columns)
    (part,) = compare_figure("01_one", ours, published)
    assert (part.values, part.outside, part.decisive) == (2, 2, True)


def test_the_verdict():
    fine, few = Part("1", "a", 212, 0, "", False), Part("1", "b", 2, 2, "", False)
    assert verdict([fine]) == (True, "you reproduced it: 212 of 212 values within tolerance")
    said = "you reproduced it: 212 of 214 values within tolerance, these are not"
    assert verdict([fine, few]) == (True, said)
    reproduced, said = verdict([fine, Part("1", "b", 2, 1, "", True)])
    assert not reproduced
    assert said == "you did not reproduce it: 213 of 214 values within tolerance, these are not"


# --- on runs -------------------------------------------------------------------------------------


def test_a_run_with_other_threads_reproduces_and_one_with_a_flipped_sign_does_not(copy):
    shutil.rmtree(copy / "outputs")
    words = ("paperlib.runs.graph", "--only", "01_one")
    ran = copy.python(*words, PAPERLIB_THREADS="2")
    assert ran.returncode == 0, ran.stderr
    done = copy.python("paperlib.runs.compare")
    assert (done.returncode, done.stderr) == (0, "")
    first, *more = done.stdout.splitlines()
    assert first == "you reproduced it: 7 of 7 values within tolerance"
    assert "differs: threads: 2, published 1 (everywhere)" in more
    assert "not compared: 02_two" in more
    copy.edit("paperlib/toy/arithmetic.py", "2 * number", "-2 * number")
    assert copy.python(*words).returncode == 0
    done = copy.python("paperlib.runs.compare", "default-openmoji-seed0")
    assert done.returncode == 1
    first, *more = done.stdout.splitlines()
    assert first == "you did not reproduce it: 4 of 7 values within tolerance, these are not"
    start = "  01_one          claim toy-evens: 1 of 1, disagrees (-4), published scaled-down (4)"
    assert start in more
    assert "differs: other code or data: paperlib/toy/arithmetic.py (everywhere)" in more
    parts = pd.read_csv(copy / "outputs/default-openmoji-seed0/compare.csv")
    assert parts["values"].sum() == 7 and parts.outside.sum() == 3


def test_what_cannot_be_compared_is_named(copy):
    shutil.rmtree(copy / "outputs")
    done = copy.python("paperlib.runs.compare")
    assert done.returncode == 2
    assert "no results of a run are here: start ./run_all.sh first" in done.stderr
    run = copy / "outputs/some-run"
    shutil.copytree(copy / "figures/default/01_one", run / "01_one")

    def rewrite(**changed):
        file = run / "01_one/provenance.json"
        made = json.loads(file.read_text())
        made["parameters"] |= changed
        file.write_text(json.dumps(made))

    rewrite(seed=3)
    done = copy.python("paperlib.runs.compare", "some-run")
    assert done.returncode == 2
    assert "seed is 3, in " in done.stderr
    rewrite(seed=0, profile="smoke")
    done = copy.python("paperlib.runs.compare", "some-run")
    assert done.returncode == 2
    assert "01_one: nothing is published of such a run to compare with" in done.stderr
    done = copy.python("paperlib.runs.compare", "some-run", "--against", str(run))
    assert done.returncode == 0
