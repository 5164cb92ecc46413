import pandas as pd
import pytest
import torch

from paperlib.models.sam import IMAGE, build_small_sam
from paperlib.pedsam.attacks.classifier import ViewClassifier, recognised
from paperlib.pedsam.attacks.recognition import (
    accuracies,
    box_masks,
    by_servers,
    coalitions,
    falls,
    ious,
    segmented,
)
from paperlib.pedsam.attacks.reconstruction import mean_fill
from paperlib.pedsam.small_sam.masks import iou


@pytest.fixture(scope="module")
def images():
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_classifier_reads_only_the_view(images):
    torch.manual_seed(0)
    model = ViewClassifier(classes=4, channels=8).eval()
    seen = torch.zeros(6, 32, 32, dtype=torch.bool)
    seen[:, 8:20, :12] = True
    logits = model(images, seen)
    other = torch.where(seen[:, None], images, 1 - images)
    torch.testing.assert_close(model(other, seen), logits)
    assert not torch.allclose(model(1 - images, seen), logits)
    assert not torch.allclose(model(images, torch.ones_like(seen)), logits)


def test_classifier_learns_what_the_view_shows():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(3).repeat(16)
    images = torch.rand(48, 3, 32, 32, generator=generator) / 3
    images[torch.arange(48), labels, :16, :16] += 0.6  # the colour of a corner is the class
    corner = torch.zeros(48, 32, 32, dtype=torch.bool)
    corner[:, :16, :16] = True
    torch.manual_seed(0)
    model = ViewClassifier(classes=3, channels=8)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(15):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images, corner), labels).backward()
        optimiser.step()
    with torch.no_grad():  # settle the running statistics
        for _ in range(20):
            model(images, corner)
    assert recognised(model, images, corner, labels, batch=7).all()
    assert recognised(model, images, ~corner, labels).float().mean() < 0.6
    assert model.training


def test_size_of_the_committed_classifier():
    assert sum(parameter.numel() for parameter in ViewClassifier().parameters()) < 500_000


def test_iou_and_boxes_by_hand():
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2, 3], masks[0, 4, 1] = True, True
    masks[1, 5:, 6:] = True
    boxes = box_masks(masks)
    expected = torch.zeros_like(masks)
    expected[0, 2:5, 1:4], expected[1, 5:, 6:] = True, True
    assert torch.equal(boxes, expected)
    torch.testing.assert_close(iou(boxes, masks), torch.tensor([2 / 9, 1.0]))


def test_sam_looks_at_the_mean_filled_view():
    """The same masks as SAM itself gives, one image at a time, on the filled view."""
    torch.manual_seed(0)
    sam = build_small_sam()
    images = torch.rand(3, 3, IMAGE, IMAGE)
    masks = torch.zeros(3, IMAGE, IMAGE, dtype=torch.bool)
    masks[:, 50:120, 70:200] = True
    seen = torch.zeros_like(masks)
    seen[:, :130] = True
    measured = segmented(sam, images, seen, masks, batch=2)
    for x, m, mask, value in zip(images, seen, masks, measured, strict=True):
        view = 255 * mean_fill(x[None], m[None])[0]
        box = torch.tensor([[70, 50, 199, 119]])
        with torch.no_grad():
            given = {"image": view, "original_size": (IMAGE, IMAGE), "boxes": box}
            guess = sam([given], multimask_output=False)[0]["masks"][0]
        torch.testing.assert_close(iou(guess, mask[None])[0], value)
    hidden = torch.where(seen[:, None], images, 1 - images)
    torch.testing.assert_close(segmented(sam, hidden, seen, masks), measured)


def test_falls_are_from_each_row_to_the_next():
    values = pd.DataFrame({0: [90.0, 80, 85], 1: [70.0, 40, 40]}, index=[1, 2, 4])
    assert falls(values).to_numpy().tolist() == [[10, 30], [-5, 0]]


def test_some_of_16_servers_collude_whatever_else_is_asked():
    together = [(16, 1), (16, 2), (16, 4), (16, 8), (16, 12)]
    assert coalitions((2, 4)) == [(1, 1), (2, 1), (4, 1), *together]
    assert coalitions((4, 16)) == [(1, 1), (4, 1), *together]


def test_what_is_recognised_is_measured_for_every_coalition_and_draw():
    torch.manual_seed(0)
    found, source = accuracies(ViewClassifier().eval(), (2, 4), 3, 2, seed=1)
    assert source == "OpenMoji-10 (drawn)" and len(found) == 2 * 3 * len(coalitions((2, 4)))
    assert found.accuracy.mul(3 / 100).round(6).isin([0, 1, 2, 3]).all()
    seen = ious(build_small_sam(), (2, 4), 2, 1, seed=1)
    assert list(seen.servers) == [servers for servers, _ in coalitions((2, 4))]
    assert seen.IoU.between(0, 1).all() and seen.box.nunique() == 1
    table = by_servers(found, seen)
    assert set(table.measure) == {"accuracy", "IoU", "box"} and table.value.notna().all()
    alone = found[(found.assignment == "random") & (found.colluding == 1) & (found.servers == 4)]
    picked = table.query("measure == 'accuracy' and assignment == 'random' and servers == 4")
    assert picked.value.tolist() == [pytest.approx(alone.accuracy.mean())]
