"""All attacks on the same views, and the tables that are made of what was measured."""

import pandas as pd
import pytest
import torch

from paperlib.models.checkpoints import load_card
from paperlib.models.sam import WIDTH
from paperlib.pedsam.attacks import privacy
from paperlib.pedsam.attacks.images import Targets
from paperlib.pedsam.attacks.measures import quality
from paperlib.pedsam.attacks.networks import ENOUGH, GRID, SIZE, checkpoint_name
from paperlib.pedsam.attacks.privacy import ATTACKS
from paperlib.pedsam.attacks.reconstruction import mean_fill
from paperlib.pedsam.attacks.unseen import CONTROL
from paperlib.pedsam.attacks.views import draw_views, to_pixels
from paperlib.pedsam.split.partition import KINDS
from paperlib.seeds import derive


@pytest.fixture(scope="module")
def targets():
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, SIZE, SIZE, generator=draw)
    return Targets(images, torch.randn(4, WIDTH, GRID.tokens, GRID.tokens, generator=draw))


@pytest.fixture
def measured():
    """PSNR 10 for the first attack, 11 for the second and so on; SSIM a tenth; two draws.

    Of the two pictures in each, every second attack does better by 4 on one and worse on the other.
    """
    rows = [
        {"assignment": kind, "servers": servers, "colluding": colluding, "draw": k, "attack": name}
        | {"PSNR unseen": 10.0 + number + k + apart, "SSIM image": 0.1 * (number + k + apart)}
        | {"picture": picture}
        for kind, servers, colluding in [("contiguous", 2, 1), ("random", 16, 1), ("random", 16, 4)]
        for k in range(2)
        for number, name in enumerate(ATTACKS)
        for picture, apart in enumerate((-4 * (number % 2), 4 * (number % 2)))
    ]
    return pd.DataFrame(rows)


def test_attacks_keep_the_pixels_that_they_use_and_no_others(targets):
    views = draw_views(GRID, "random", 4, 1, 4, 0)
    seen = to_pixels(views, SIZE)[:, None].expand(-1, 3, -1, -1)
    hidden = Targets(torch.where(seen, targets.images, 1 - targets.images), targets.tokens)
    found, again = (privacy.attack(each, views) for each in (targets, hidden))
    assert list(found) == list(ATTACKS)
    for name, guesses in found.items():
        assert torch.equal(guesses[seen], targets.images[seen]) == ATTACKS[name].pixels
        torch.testing.assert_close(again[name], guesses)


def test_attacks_use_tokens_as_their_row_says(targets):
    views = draw_views(GRID, "random", 4, 1, 4, 0)
    other = Targets(targets.images, -targets.tokens)
    found, changed = (privacy.attack(each, views) for each in (targets, other))
    for name, attack in ATTACKS.items():
        assert torch.equal(found[name], changed[name]) != attack.tokens


def test_every_attack_is_measured_on_the_same_views(targets):
    table = privacy.measure([targets], [("random", 4, 3)], seed=7)
    assert table.attack.unique().tolist() == list(ATTACKS) and len(table) == 4 * len(ATTACKS)
    assert table.picture.tolist() == [0, 1, 2, 3] * len(ATTACKS)
    assert table["share seen"].nunique() == 1
    seen = to_pixels(draw_views(GRID, "random", 4, 3, 4, derive(7, "views", 0)), SIZE)
    expected = quality(targets.images, mean_fill(targets.images, seen), seen)
    found = table["PSNR unseen"][:4].to_numpy()
    assert found == pytest.approx(expected["PSNR unseen"].numpy())


def test_best_attack_and_gain_by_hand(measured):
    best = privacy.best_by_draw(measured)
    assert best.to_numpy().round(6).tolist() == [[0.8, 0.9], [0.8, 0.9]]
    gain = privacy.gains(measured)
    assert list(gain) == ["inversion", "tokens", "unet_tokens"] and len(gain) == 6
    assert (gain.inversion == 1).all() and (gain.tokens == 2).all()  # over the third, at 12
    assert (gain.unet_tokens == 1).all()  # over the transformer, at 17
    better = measured["PSNR unseen"] + 9 * (measured.attack == "inpainting")
    gain = privacy.gains(measured.assign(**{"PSNR unseen": better}))
    assert (gain.unet_tokens == -3).all()  # what has learnt from more is held against all


def test_leaks_are_of_one_server_under_a_random_assignment(measured):
    gain = privacy.gains(measured)  # 2 at most, in either draw
    assert privacy.leak(gain).to_dict() == {0: 2, 1: 2}
    gain[gain.index.get_level_values("assignment") != "random"] = 9.0
    gain[gain.index.get_level_values("colluding") != 1] = 9.0
    gain.loc[("random", 16, 1, 1), "inversion"] = 5.0
    assert privacy.leak(gain).to_dict() == {0: 2, 1: 5}


def test_tokens_of_another_picture_are_the_null_control(targets):
    """All else as before: the same pictures, views and attacks without tokens."""
    measured = privacy.measure([targets], [("random", 4, 1), ("contiguous", 4, 1)], seed=7)
    null = privacy.gains_by_others(measured, [targets], (4,), seed=7)
    assert null.index.tolist() == [("random", 4, 1, 0)]
    gain = privacy.gains(measured).loc[null.index]
    assert list(null) == list(gain) and (null != gain).all(axis=None)
    turned = Targets(targets.images, targets.tokens[[3, 0, 1, 2]])
    by_hand = privacy.measure([turned], [("random", 4, 1)], seed=7)
    pd.testing.assert_frame_equal(null, privacy.gains(by_hand))
    same = Targets(targets.images, targets.tokens[:1].expand_as(targets.tokens))
    measured = privacy.measure([same], [("random", 4, 1)], seed=7)
    null = privacy.gains_by_others(measured, [same], (4,), seed=7)
    pd.testing.assert_frame_equal(null, privacy.gains(measured))
    alone = Targets(targets.images[:1], targets.tokens[:1])
    with pytest.raises(ValueError, match="^draws: an image alone"):
        privacy.gains_by_others(measured, [alone], (4,), seed=7)


def test_the_mean_fill_alone(measured):
    assert (privacy.fill_by_draw(measured).to_numpy() == [[0, 0.1]]).all()


def test_tables_hold_what_is_shown_and_no_more(measured):
    table = privacy.shown(privacy.means(measured))
    assert set(table.attack[table.measure == "PSNR unseen"]) == set(ATTACKS)
    assert "tokens" not in set(table.attack[table.measure == "SSIM image"])
    gain = privacy.gains(measured)
    others = gain.xs("random", level="assignment", drop_level=False)
    others = others.xs(1, level="colluding", drop_level=False) - 3
    gains = privacy.gains_shown(gain, others)
    panels = dict(list(gains.groupby("panel")))
    assert list(panels) == ["of 16 servers", *privacy.OF_PHOTOGRAPHS.values()]
    for known, attack in ((False, "inversion"), (True, "unet_tokens")):
        panel = panels[privacy.OF_PHOTOGRAPHS[known]]
        assert set(panel.attack) == {attack}
        assert panel.assignment.tolist() == ["contiguous", "random", privacy.BY_OTHERS]
        assert panel.gain.tolist() == [1, 1, -2]
    assert panels["of 16 servers"].colluding.tolist() == [1, 1, 1, 4, 4, 4]


def test_examples_are_one_image_for_each_number_of_servers(targets):
    table, pictures = privacy.examples(targets, (2, 4, 8, 16), seed=0)
    assert list(pictures) == ["view", *ATTACKS, "image"]
    assert len(table) == 4 * len(ATTACKS)
    assert torch.equal(pictures["image"], targets.images)
    shares = (pictures["view"] > 0).float().mean((1, 2, 3))
    assert (shares.diff() < 0).all()  # the more servers, the less is seen
    one = Targets(targets.images[:1], targets.tokens[:1])  # is shown for every number
    _, pictures = privacy.examples(one, (4, 16), seed=0)
    assert torch.equal(pictures["image"], targets.images[[0, 0]])


def test_coalitions_of_one_server_and_of_several():
    found = privacy.coalitions((4, 9))
    assert found[:6] == [(kind, k, 1) for kind in KINDS for k in (4, 9)]
    assert found[6:] == privacy.TOGETHER


def test_held_out_photographs_are_as_the_cards_have_them():
    table = privacy.held_out_photographs()
    assert list(table) == ["2", "4", "8", "16", "all but one", "all"]
    for name in ("gaussian", "unet", "transformer", "unet_tokens"):
        card = load_card(checkpoint_name(name))
        assert table.loc[ATTACKS[name].title].to_dict() == card["test_psnr_unseen"]
    twin = table.loc[f"{ATTACKS['unet_tokens'].title} of others"]
    assert twin.to_dict() == card["test_psnr_unseen_others_tokens"]
    mean_fill, drawings, gaussian, unet = (
        table.loc[ATTACKS[name].title, "all"]
        for name in ("mean_fill", "inpainting", "gaussian", "unet")
    )
    assert mean_fill < drawings < gaussian < unet


@pytest.mark.parametrize(
    ("network", "least", "most"),
    [("unet", 0, ENOUGH), ("transformer", -0.01, ENOUGH), ("unet_tokens", ENOUGH, 0.2)],
)
def test_trainings_were_doubled_until_that_gained_little(network, least, most):
    """But for the last one, which was stopped for time, as the notebook says."""
    table = privacy.doublings(network)
    whole = load_card(checkpoint_name(network))["training_seconds"]
    assert 60 * table.minutes.iloc[-1] == pytest.approx(whole)  # not the last stage's alone
    assert (table.steps.diff()[1:] == table.steps[:-1].to_numpy()).all()  # each one a doubling
    assert table.minutes.is_monotonic_increasing
    gains = table.gain[1:]
    assert (gains[:-1] >= ENOUGH).all() and least < gains.iloc[-1] < most


def test_the_null_controls_attacker_is_the_best_one_on_held_out_photographs():
    everywhere = privacy.held_out_photographs()["all"]
    sighted = [each.title for each in ATTACKS.values() if each.pixels and not each.tokens]
    assert everywhere.reindex(sighted).idxmax() == ATTACKS[CONTROL].title
