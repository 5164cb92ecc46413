"""A server that chooses its tokens: what it is sent, what it gains, and what stops it."""

import pandas as pd
import pytest
import torch
from scipy.stats import hypergeom

from paperlib.intervals import student
from paperlib.models.sam import IMAGE, build_small_sam, load_sam
from paperlib.pedsam.attacks import active
from paperlib.pedsam.attacks.active import Attacker, Scenes
from paperlib.pedsam.attacks.inversion import second_round_tokens
from paperlib.pedsam.attacks.networks import GRID
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.lying import LyingService
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.split.encoder import PartitionedEncoder

PLACES = GRID.tokens**2


class ReadingService(LyingService):
    """Returns chosen tokens in the first round; keeps what it is sent."""

    def __init__(self, worker, chosen):
        super().__init__(worker, Limits(), lambda rows: rows)
        self.chosen, self.got = chosen, []

    def run(self, values, windows, blocks, pixels):
        self.got.append((tuple(windows), values.clone()))
        self.lie = lambda rows: self.chosen[self.worker.grid.rows(windows)] if pixels else rows
        return super().run(values, windows, blocks, pixels)


@pytest.fixture(scope="module")
def sam(encoder):
    sam = build_small_sam()
    sam.image_encoder = encoder
    return sam


@pytest.fixture(scope="module")
def images():
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (2, 3, IMAGE, IMAGE), dtype=torch.uint8, generator=draw)


@pytest.fixture(scope="module")
def scenes(sam, images):
    return active.look_at(sam, images)


@pytest.fixture(scope="module")
def pictures():
    """Smooth pictures of random colours to learn from and to ask about; no tokens."""
    draw, made = torch.Generator().manual_seed(0), []
    for count in (200, 40):
        coarse = torch.rand(count, 3, 4, 4, generator=draw)
        colours = torch.nn.functional.interpolate(coarse, size=GRID.tokens, mode="bilinear")
        none = torch.zeros(count, PLACES, 1)
        made.append(Scenes(colours, none, none))
    return made


@pytest.fixture(scope="module")
def attacker(sam, pictures):
    return Attacker(sam, *pictures, servers=2, seed=0)


def test_honest_servers_are_sent_the_tokens_of_round_two(sam, images, scenes):
    due = second_round_tokens(sam, images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(scenes.sent, due, atol=1e-4, rtol=1e-4)
    assert scenes.colours[1, 2, 3, 4].item() == pytest.approx(
        images[1, 2, 48:64, 64:80].float().mean().item() / 255
    )


def test_the_edge_sends_a_malicious_server_what_the_attack_reads(
    sam, worker, images, scenes, in_process
):
    """Over the protocol, without spot checks: within the range of an honest server."""
    service = ReadingService(worker, active.random_tokens(scenes, 0))
    addresses = [in_process(service), in_process(WindowService(worker, Limits()))]
    with EdgeCompute(worker, addresses, assignment="random", secret=b"12345678" * 2) as edge:
        with torch.inference_mode():
            PartitionedEncoder(sam.image_encoder, edge)(sam.preprocess(images[:1].float()))
        assert not edge.distrusted
    (windows, _), (again, got) = service.got
    assert windows == again and 0 < len(windows) < GRID.count
    places = GRID.rows(windows)
    false = torch.zeros(PLACES, dtype=torch.bool)
    false[places] = True
    due = active.received(sam, scenes.tokens[:1], false.view(20, 20), service.chosen)
    torch.testing.assert_close(got, due[0, places], atol=1e-3, rtol=1e-4)
    assert (due - scenes.sent[:1]).abs().max() > 1


def test_a_server_that_is_caught_is_sent_no_tokens(sam, worker, images, scenes, in_process):
    service = ReadingService(worker, active.one_token(scenes))
    addresses = [in_process(service), in_process(WindowService(worker, Limits()))]
    with EdgeCompute(worker, addresses, checks="strict") as edge, torch.inference_mode():
        PartitionedEncoder(sam.image_encoder, edge)(sam.preprocess(images[:1].float()))
        assert edge.distrusted == {addresses[0]}
    assert len(service.got) == 1


def test_scenes_to_learn_from_stand_beside_their_mirror_images(sam):
    scenes = active.scenes_to_learn_from(sam, 12, 0)
    assert len(scenes.colours) == len(scenes.tokens) == len(scenes.sent) == 24
    torch.testing.assert_close(scenes.colours[1::2], scenes.colours[::2].flip(-1))
    assert (scenes.colours[2:] - scenes.colours[:-2]).abs().mean((1, 2, 3)).min() > 0.01
    torch.testing.assert_close(scenes.sent[-3:], active.received(sam, scenes.tokens[-3:]))
    gained = active.gains({8: Attacker(sam, scenes, scenes, 8, 0)}, 0)
    assert gained.knows.unique().tolist()[-2:] == [active.OTHERS, active.EVERYWHERE]
    assert len(gained) == 5 * 24
    told = gained.groupby("knows").gain.mean()
    assert told[active.OTHERS] < told[active.RANDOM]  # the null control knows of other pictures


def test_a_planted_leak_is_found_and_none_where_there_is_none(attacker, pictures):
    draw = torch.Generator().manual_seed(1)
    hidden = [each.colours[:, :, ~attacker.view].flatten(1) for each in pictures]
    mixed = torch.randn(hidden[0].shape[1], 50, generator=draw)
    low, _ = student(attacker.gain([each @ mixed for each in hidden]))
    assert low > 3
    noise = [torch.randn(len(each), 50, generator=draw) for each in hidden]
    low, high = student(attacker.gain(noise))
    assert low < 0.02 and high < 0.1


def test_an_attacker_has_the_windows_of_its_view(attacker):
    mine = torch.zeros(PLACES, dtype=torch.bool)
    mine[GRID.rows(attacker.windows)] = True
    assert torch.equal(mine.view(20, 20), attacker.view)
    sizes = [len(GRID.rows([window])) for window in attacker.windows]
    assert sizes == sorted(sizes, reverse=True)


def test_it_lies_about_the_windows_that_it_says(sam, scenes):
    attacker = Attacker.__new__(Attacker)
    attacker.sam, attacker.pictures = sam, (scenes, scenes)
    attacker.view, attacker.windows = torch.ones(20, 20, dtype=torch.bool), [5, 0]
    chosen = active.random_tokens(scenes, 0)
    false = torch.zeros(20, 20, dtype=torch.bool)
    false[6:12, 6:12] = True  # window 5
    due = active.received(sam, scenes.tokens, false, chosen)
    for sent in attacker.sent(chosen, 1):
        torch.testing.assert_close(sent, due)


@pytest.mark.parametrize(("false", "checked"), [(1, 1), (4, 4), (8, 1), (7, 8)])
def test_spot_checks_catch_as_often_as_draws_without_replacement(false, checked):
    assert active.caught(false, checked) == pytest.approx(
        1 - hypergeom.pmf(0, GRID.count, false, checked)
    )


def test_what_checks_leave_by_hand():
    table = pd.DataFrame(
        [
            {"false": false, "checked": checked, "picture": k, "gain": gain + k}
            for false, checked, gain in [(1, 0, 1.0), (8, 0, 2.0), (1, 4, 0.7), (8, 4, 0.1)]
            for k in range(3)
        ]
    )
    assert active.best_lie(table, 0).tolist() == [2, 3, 4]
    assert active.best_lie(table, 4).tolist() == pytest.approx([0.7, 1.7, 2.7])


def test_gains_have_both_controls():
    gained = pd.DataFrame(
        [
            {"servers": k, "knows": knows, "picture": p, "gain": gain * k + p}
            for k in (2, 4)
            for knows, gain in {active.HONEST: 0.0, active.RANDOM: 1.0}.items()
            for p in range(3)
        ]
    )
    assert active.more_than_honest(gained).tolist() == [3, 3, 3]
    table = active.summary(gained, ["servers", "knows"])
    assert table.gain.tolist() == [1, 3, 1, 5]
    assert table.high[0] - table.gain[0] == pytest.approx(4.302653 / 3**0.5)


def test_pixels_once_must_send_no_tokens():
    checks = pd.DataFrame(
        {"false": 1, "checked": r, "picture": k, "gain": 1.0 + k}
        for r in (0, *active.CHECKED)
        for k in range(2)
    )
    noise = pd.DataFrame({0.1: [0.5, 0.7]})
    table = active.defences(checks, noise, 0).set_index("defence").gain
    assert table["none"] == 1.5 and table["noise of 10 %"] == pytest.approx(0.6)
    assert table["pixels once"] == 0 and len(table) == 3 + len(active.CHECKED)
    with pytest.raises(ValueError, match="1 rounds with tokens"):
        active.defences(checks, noise, 1)


def test_noise_costs_masks_and_leaves_the_encoder_as_it_was(monkeypatch):
    sam = load_sam("sam-small")
    monkeypatch.setattr(active, "NOISES", (3.0,))
    found = active.iou_under_noise(sam, 4, 6.7, 0)
    assert list(found) == [0.0, 3.0] and found[0.0] > found[3.0] + 0.1
    assert active.iou_under_noise(sam, 4, 6.7, 0) == found


def test_what_does_not_fit_is_refused(sam, scenes):
    view, chosen = torch.ones(20, 20, dtype=torch.bool), torch.zeros(PLACES, 160)
    with pytest.raises(ValueError, match="both are needed"):
        active.received(sam, scenes.tokens, view)
    for wrong in ({"false": view[:4, :4], "chosen": chosen}, {"to": view[:4, :4]}):
        with pytest.raises(ValueError, match=r"views of \[16\] places for 400 tokens"):
            active.received(sam, scenes.tokens, **wrong)
