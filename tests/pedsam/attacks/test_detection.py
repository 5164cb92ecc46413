"""What is found again, counted; views of servers under a detector that finds what is blue."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.ops import box_iou

from paperlib.models.sam import PATCH, load_sam
from paperlib.pedsam.attacks.detection import (
    FILLED,
    OTHER,
    OVERLAP,
    REBUILT,
    VIEW,
    bootstrap,
    controls,
    counts,
    falls,
    main,
    measure,
    over_fill,
    right,
    summary,
)
from paperlib.pedsam.attacks.detectors import ENVIRONMENT, Found, load_detectors
from paperlib.pedsam.attacks.networks import GRID, SAM
from paperlib.pedsam.split.partition import area
from paperlib.pedsam.split.pixels import windows_in


def found(*rows):
    """Of rows of left, top, right, bottom, score and kind."""
    values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Found(values[:, :4], values[:, 4], values[:, 5].long())


def test_an_object_is_found_once_and_by_the_surest():
    there = found((0, 0, 10, 10, 1, 0), (100, 0, 110, 10, 1, 0))
    twice = found((0, 0, 10, 9, 0.6, 0), (0, 0, 10, 8, 0.9, 0), (101, 0, 111, 10, 0.5, 0))
    assert right(twice, there).tolist() == [False, True, True]
    assert counts(twice, there) == {"reference": 2, "found": 3, "right": 2}


def test_kind_and_overlap_decide():
    there = found((0, 0, 10, 10, 1, 3))
    assert right(found((0, 0, 10, 10, 1, 4)), there).tolist() == [False]
    assert right(found((0, 0, 10, 5, 1, 3)), there).tolist() == [True]  # half
    assert right(found((0, 0, 10, 4.9, 1, 3)), there).tolist() == [False]
    assert right(found(), there).tolist() == [] and right(there, found()).tolist() == [False]


boxes = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 5)] * 2, st.integers(0, 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, max_size=5), st.lists(boxes, max_size=5))
def test_never_more_than_can_be_paired(one, other):
    """Greedy is at most the best pairing, and at least half of it; all of itself."""

    def as_found(rows):
        scores = [1 - i / 10 for i in range(len(rows))]
        corners = [(x, y, x + w, y + h) for x, y, w, h, _ in rows]
        return found(*[(*c, s, r[4]) for c, s, r in zip(corners, scores, rows, strict=True)])

    a, b = as_found(one), as_found(other)
    fits = (box_iou(a.boxes, b.boxes) >= OVERLAP) & (a.kinds[:, None] == b.kinds)
    most = 0
    for size in range(1, min(len(a), len(b)) + 1):
        for rows in itertools.combinations(range(len(a)), size):
            for columns in itertools.permutations(range(len(b)), size):
                if fits[list(rows), list(columns)].all():
                    most = size
    hits = int(right(a, b).sum())
    assert most / 2 <= hits <= most
    assert right(a, a).all()


def squares(seed, height, width):
    """A grey picture with three blue squares of cells of the detectors' input."""
    rng, picture = np.random.default_rng(seed), np.full((height, width, 3), 90, np.uint8)
    picture[..., 2] = 0
    for cell in rng.choice(20, 3, replace=False):
        row, column = divmod(int(cell), 5)
        top, left = (50 * row + 10) * height // 320, (60 * column + 10) * width // 320
        picture[top : top + 24, left : left + 24] = (0, 0, 255)
    return picture


@pytest.fixture(scope="module")
def measured(detectors):
    pictures = [squares(0, 320, 320), squares(1, 240, 320), squares(2, 320, 200)]
    servers = (1, 4, 16)
    return measure(load_sam(SAM), pictures, load_detectors(detectors), servers, "random", seed=1)


def test_one_server_has_all_and_another_picture_tells_nothing(measured):
    """Positive and null control; in between, no more than what is seen."""
    assert len(measured) == 3 * 3 * 4 * 2
    whole = measured[(measured.servers == 1) & (measured.image != OTHER)]
    assert (whole.reference == whole.found).all() and (whole.right == whole.reference).all()
    assert (whole.reference > 0).all() and (whole.share == 1).all()
    other = measured[(measured.servers == 1) & (measured.image == OTHER)]
    assert other.right.sum() < other.reference.sum()
    table = summary(measured, seed=0)
    for what in ("objects", "faces"):
        recall = table.recall[what]
        assert (recall.xs(1, level="servers")[[VIEW, FILLED, REBUILT]] == 1).all()
        for image in (VIEW, FILLED):
            assert recall[image, 1] > recall[image, 4] >= recall[image, 16]
    assert (measured.right <= measured[["reference", "found"]].min(axis=1)).all()
    assert measured[measured.servers == 4].share.between(0.05, 0.6).all()


def test_controls(measured):
    two = measured[measured.servers == 4].assign(servers=2)
    filled, null = controls(pd.concat([measured, two]), 0)
    recall = summary(measured, 0).recall["objects"]
    assert filled == recall[FILLED, 4] < 1
    assert null == recall[OTHER][[4, 16]].max() < 1


def test_the_same_seed_gives_the_same_and_another_another(detectors, measured):
    pictures = [squares(0, 320, 320), squares(1, 240, 320), squares(2, 320, 200)]
    how = load_sam(SAM), pictures, load_detectors(detectors), (4,), "random"
    four = measured[measured.servers == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(measure(*how, seed=1), four)
    assert not measure(*how, seed=2).share.equals(four.share)


def test_intervals():
    """Exact where every picture says the same; as the normal approximation says with many."""
    same = bootstrap(np.full(5, 2.0), np.full(5, 4.0), 0)
    assert same == (0.5, 0.5)
    assert np.isnan(bootstrap(np.zeros(3), np.zeros(3), 0)).all()
    hits = np.random.default_rng(0).binomial(1, 0.3, 400).astype(float)
    low, high = bootstrap(hits, np.ones(400), 0)
    half = 1.96 * hits.std() / 20
    assert (low, high) == pytest.approx((hits.mean() - half, hits.mean() + half), abs=0.006)


def test_sums_over_pictures_not_means():
    """One picture with one object that is found, one with nine that are not."""
    rows = [
        {"picture": k, "servers": 2, "image": VIEW, "detector": "objects", "share": 0.5, **row}
        for k, row in enumerate(
            [{"reference": 1, "found": 2, "right": 1}, {"reference": 9, "found": 0, "right": 0}]
        )
    ]
    row = summary(pd.DataFrame(rows), 0).loc["objects", VIEW, 2]
    assert (row.recall, row.precision, row.pictures) == (0.1, 0.5, 2)
    assert row["recall from"] == 0 and row["recall to"] == 1
    assert (row["precision from"], row["precision to"]) == (0.5, 0.5)


def test_what_a_claim_says_is_the_smallest_fall_and_the_largest_gain():
    """Ten pictures of ten objects: recall by number of servers; all alike, so no interval."""
    recall = {
        REBUILT: {1: 1.0, 2: 0.4, 8: 0.3, 16: 0.1},
        FILLED: {1: 1.0, 2: 0.0, 8: 0.2, 16: 0.1},
    }
    rows = [
        {"picture": n, "servers": k, "image": image, "detector": "objects", "found": 9}
        | {"reference": 10, "right": 10 * share}
        for n in range(10)
        for image, shares in recall.items()
        for k, share in shares.items()
    ]
    faces = [row | {"detector": "faces", "right": 0} for row in rows]
    for measured in (pd.DataFrame(rows), pd.DataFrame(faces + rows[::-1])):
        fall, ends = falls(measured, 0)
        assert (fall, *ends) == pytest.approx((0.1,) * 3)
        gain, ends = over_fill(measured, 0)
        assert (gain, *ends) == pytest.approx((0.1,) * 3)
    for row in rows[3:24:8]:  # three pictures, rebuilt by one of 16: more than one of 8 finds
        row["right"] = 8
    fall, (low, high) = falls(pd.DataFrame(rows), 0)
    assert fall == pytest.approx(-0.01) and low < fall < high


def test_a_server_sees_what_resizing_reads(detectors):
    pictures = [squares(seed, 417, 657) for seed in (0, 1)]
    found = measure(load_sam(SAM), pictures, load_detectors(detectors), (16,), "random", seed=1)
    boxes = windows_in(GRID, PATCH, (0, 0, 417, 657))
    assert set(found.share) <= {area(box) / (417 * 657) for box in boxes}


def test_the_command(detectors, tmp_path, capsys, monkeypatch):
    (tmp_path / "photographs").mkdir()
    for k in range(3):
        Image.fromarray(squares(k, 160, 200)).save(tmp_path / f"photographs/{k}.png")
    words = [str(tmp_path / "photographs"), "--folder", str(tmp_path), "--servers", "1", "4"]
    main([*words, "--detectors", str(detectors), "--count", "2"])
    rows = pd.read_csv(tmp_path / "detection.csv")
    assert len(rows) == 2 * 2 * 4 * 2 and "recall from" in capsys.readouterr().out
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    for more, said in [
        ([], f"{ENVIRONMENT}="),
        (["--detectors", str(tmp_path)], "nanodet_m.onnx: no such file"),
        (["--detectors", str(detectors), "--count", "4"], "has 3 photographs"),
        (["--detectors", str(detectors), "--count", "1"], "one alone has no other"),
        (["--detectors", str(detectors), "--servers", "17"], "17 servers for 16 windows"),
    ]:
        with pytest.raises(SystemExit):
            main([*words, *more])
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1
