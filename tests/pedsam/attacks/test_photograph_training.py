import argparse
import io
import json
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from paperlib.data.photographs import read_photographs
from paperlib.models.checkpoints import load_card
from paperlib.models.resume import Resume
from paperlib.models.sam import IMAGE, WIDTH, load_sam
from paperlib.pedsam.attacks import photograph_data as data
from paperlib.pedsam.attacks import photograph_stage as stage
from paperlib.pedsam.attacks import photograph_training as training
from paperlib.pedsam.attacks.images import shrink
from paperlib.pedsam.attacks.inversion import second_round_tokens
from paperlib.pedsam.attacks.networks import GRID, SAM, SIZE, build_attack, checkpoint_name
from paperlib.pedsam.attacks.photographic import SIDE
from paperlib.pedsam.attacks.reconstruction import mean_fill, rebuild
from paperlib.pedsam.attacks.views import to_pixels
from paperlib.pedsam.split.partition import SERVERS

NETWORKS = ("unet", "transformer")


def encoded(seed, width, height):
    """A smooth picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A parquet file of 20 photographs and a folder of two: one large, one of those held out."""
    folder = tmp_path_factory.mktemp("photographs")
    cells = [{"bytes": encoded(number, 64, 48), "path": f"{number}.png"} for number in range(20)]
    parquet.write_table(pa.table({"image": cells}), folder / "small.parquet")
    (folder / "large").mkdir()
    (folder / "large" / "new.png").write_bytes(encoded(100, 160, 120))
    (folder / "large" / "known.png").write_bytes(encoded(9, 64, 48))
    return [folder / "small.parquet", folder / "large"]


def test_every_tenth_photograph_is_held_out_and_its_like_too(sources):
    squares = data.load_squares(sources, seed=0)
    held_out = data.load_held_out(sources[0], 80)
    assert held_out.shape == (2, 3, 80, 80)
    assert squares.shape == (18 + data.CROPS, 3, 64, 64)
    assert not data.alike(squares, data.load_held_out(sources[0], 64)).any()
    assert torch.equal(squares, data.load_squares(sources, seed=0))
    assert not torch.equal(squares[-8:], data.load_squares(sources, seed=1)[-8:])


def test_what_is_wrong_with_a_source_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.parquet: no such file"):
        next(read_photographs(tmp_path / "none.parquet"))
    parquet.write_table(pa.table({"picture": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"columns picture; 'image' is needed"):
        next(read_photographs(tmp_path / "other.parquet"))
    parquet.write_table(pa.table({"image": [{"bytes": b"no"}]}), tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match=r"bad\.parquet, row 0: not a PNG"):
        next(read_photographs(tmp_path / "bad.parquet"))


def test_views_of_single_servers_are_the_most_of_them():
    views = stage.training_views(8, seed=0)
    shares = views.flatten(1).float().mean(1)
    assert len(views) == 12 * 8 + 12 * 2 + 24 * 8 // 4
    assert shares[:96].max() < 0.66 and shares.min() > 0


def test_filling_is_grey_and_known():
    squares = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    views = torch.zeros(4, 20, 20, dtype=torch.bool)
    filled = 0
    for seed in range(40):
        torch.manual_seed(seed)
        images, seen = stage.varied(squares, views)
        assert images.shape == (4, 3, SIDE, SIDE)
        assert torch.equal(images[:, 0] > 0, seen) and seen.float().mean() <= 0.6
        filled += seen.any().item()
    assert 3 <= filled <= 20


def test_loss_is_minus_the_psnr_over_what_is_unseen():
    images = torch.zeros(2, 3, 4, 4)
    guesses = torch.full_like(images, 0.1)
    seen = torch.zeros(2, 4, 4, dtype=torch.bool)
    seen[0, :2], seen[1] = True, True
    guesses[0, :, :2] = 0.9  # seen, so of no account
    assert stage.negative_psnr(images, guesses, seen).item() == pytest.approx(-20, abs=0.1)


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_start_as_the_gaussian_and_read_nothing_hidden(network):
    torch.manual_seed(0)
    model = build_attack(network).eval()
    model.prior.factors.data.normal_(0, 0.01)
    images, seen = torch.rand(2, 3, SIDE, SIDE), torch.rand(2, SIDE, SIDE) < 0.5
    expected = torch.where(seen[:, None], images, model.prior(images, seen))
    torch.testing.assert_close(model(images, seen), expected)
    model.head.weight.data.normal_(0, 0.01)
    changed = torch.where(seen[:, None], images, 1 - images)
    assert torch.equal(model(images, seen), model(changed, seen))
    assert not torch.equal(model(images, seen), expected)
    assert model(torch.rand(1, 3, SIZE, SIZE), seen.new_ones(1, SIZE, SIZE)).shape[-1] == SIZE


@pytest.mark.parametrize("network", NETWORKS)
def test_a_stage_trains_all_but_the_gaussian(network):
    torch.manual_seed(0)
    model = build_attack(network)
    squares = torch.randint(256, (8, 3, 64, 64), dtype=torch.uint8)
    before = {name: value.clone() for name, value in model.named_parameters()}
    recipe = stage.PhotographRecipe(batch_size=4)
    stage.train_photographic(model, squares, stage.training_views(4, 0), recipe, 3, seed=0)
    same = {n for n, value in model.named_parameters() if torch.equal(value, before[n])}
    assert same == {"prior.mean", "prior.factors", "prior.noise"} and not model.training


def test_validation_knows_a_perfect_attacker_from_the_mean():
    photographs = torch.rand(2, 3, SIZE, SIZE)
    truth = photographs + 0.01
    perfect = stage.validation(lambda images, seen: truth, photographs, 0)
    poor = stage.validation(mean_fill, photographs, 0)
    assert set(perfect) == {*map(str, SERVERS), "all", "all but one"}
    assert all(value == pytest.approx(40, abs=0.01) for value in perfect.values())
    assert all(value < 12 for value in poor.values())


def test_the_command_goes_on_from_its_card(sources, tmp_path, monkeypatch, capsys):
    few = stage.PhotographRecipe(steps=1, batch_size=4)
    monkeypatch.setattr(training, "PhotographRecipe", lambda: few)
    monkeypatch.setattr(training, "DRAWN", 4)
    monkeypatch.setattr(training, "ENOUGH", -100.0)
    monkeypatch.setattr(Resume, "seconds", 7.0)
    command = ["--network", "unet", "--folder", str(tmp_path), "--work", str(tmp_path)]
    command += ["--photographs", *map(str, sources)]
    for stages in (1, 3):
        monkeypatch.setattr(sys, "argv", ["photographs", *command, "--stages", str(stages)])
        training.main()
        card = json.loads((tmp_path / f"{checkpoint_name('unet')}.json").read_text())
        assert [each["steps"] for each in card["stages"]] == [1, 1, 2][:stages]
        assert card["training_seconds"] == 7 * stages
    assert "--photographs small.parquet large --stages 3" in card["command"]
    assert str(tmp_path) not in json.dumps(card)
    gained = card["stages"][-1]["psnr_unseen"] - card["stages"][-2]["psnr_unseen"]
    assert card["last_doubling_gains"] == pytest.approx(gained, abs=1e-3)
    monkeypatch.setattr(training, "ENOUGH", 100.0)
    monkeypatch.setattr(sys, "argv", ["photographs", *command, "--stages", "9"])
    training.main()  # the last doubling has gained little: nothing is left to do
    assert json.loads((tmp_path / f"{checkpoint_name('unet')}.json").read_text()) == card
    monkeypatch.setattr(sys, "argv", ["photographs", *command, "--seed", "1"])
    with pytest.raises(ValueError, match="is of another training"):
        training.main()


def test_the_gaussian_is_fitted_by_the_command(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit_gaussian", lambda model, squares: None)
    monkeypatch.setattr(training, "biharmonic_fill", lambda images, seen, shrink: images)
    command = ["--network", "gaussian", "--folder", str(tmp_path), "--work", str(tmp_path)]
    command += ["--photographs", *map(str, sources)]
    monkeypatch.setattr(sys, "argv", ["photographs", *command])
    training.main()
    card = json.loads((tmp_path / "pedsam-gaussian.json").read_text())
    assert card["recipe"] == {"side": 30, "factors": 256}
    assert {"test_psnr_unseen", "test_psnr_unseen_mean_fill"} <= card.keys()


def test_rebuild_keeps_what_was_seen():
    images, seen = torch.rand(1, 3, SIZE, SIZE), torch.rand(1, SIZE, SIZE) < 0.5
    found = rebuild(build_attack("transformer"), images, seen)
    assert torch.equal(found[0, :, seen[0]], images[0, :, seen[0]]) and GRID.count == 16


def test_with_tokens_a_network_starts_as_the_one_without_and_reads_those_of_the_view():
    torch.manual_seed(0)
    plain, model = build_attack("unet").eval(), build_attack("unet_tokens").eval()
    plain.head.weight.data.normal_(0, 0.01)
    left = model.load_state_dict(plain.state_dict(), strict=False)
    assert left.missing_keys == ["tokens.weight"] and not left.unexpected_keys
    images, tokens = torch.rand(2, 3, SIZE, SIZE), torch.randn(2, WIDTH, GRID.tokens, GRID.tokens)
    view = torch.rand(2, GRID.tokens, GRID.tokens) < 0.5
    seen = to_pixels(view, SIZE)
    assert torch.equal(model(images, seen, tokens), plain(images, seen))
    model.tokens.weight.data.normal_(0, 0.01)
    found = model(images, seen, tokens)
    assert not torch.allclose(found, plain(images, seen))
    hidden = torch.where(view[:, None], tokens, torch.randn_like(tokens))
    torch.testing.assert_close(model(images, seen, hidden), found)
    one = tokens.clone()
    place = view[0].nonzero()[0]
    one[0, :, place[0], place[1]] = one[0, :, place[0], place[1]].flip(0)
    assert not torch.equal(model(images, seen, one)[0], found[0])
    with pytest.raises(ValueError, match="tokens: this network takes 160 channels of them"):
        model(images, seen)
    with pytest.raises(ValueError, match="tokens: this network takes none"):
        plain(images, seen, tokens)


def test_tokens_are_those_of_their_squares_and_the_twins_of_others():
    squares = torch.randint(256, (3, 3, IMAGE, IMAGE), dtype=torch.uint8)
    material = training.Material(squares, squares[:2], "", "", argparse.Namespace())
    known = training.make_tokens(material, seed=0)
    assert known.squares.shape == (6, 3, SIDE, SIDE)
    sam, chosen = load_sam(SAM), torch.tensor([4, 1])
    both = torch.cat([squares, squares.flip(-1)])
    expected = second_round_tokens(sam, both[chosen])
    torch.testing.assert_close(known.own(chosen).float(), expected, rtol=0.01, atol=0.05)
    small = (255 * shrink(both[chosen], SIDE)).round().byte()
    assert torch.equal(known.squares[chosen], small)
    assert torch.equal(known.others(chosen), known.own(known.order[chosen]))
    assert sorted(known.order.tolist()) == list(range(6)) and known.order.tolist() != list(range(6))
    torch.testing.assert_close(known.held_out, second_round_tokens(sam, squares[:2]))


def test_the_twin_of_a_training_with_tokens_is_in_its_card(sources, tmp_path, monkeypatch):
    few = stage.PhotographRecipe(steps=1, batch_size=4)
    monkeypatch.setattr(training, "PhotographRecipe", lambda: few)
    monkeypatch.setattr(training, "DRAWN", 4)
    monkeypatch.setattr(training, "ENOUGH", -100.0)
    seen = []
    whole = stage.train_photographic

    def counting(learner, *given, tokens=None, **how):
        seen.append(tokens.__name__)
        return whole(learner, *given, tokens=tokens, **how)

    monkeypatch.setattr(training, "train_photographic", counting)
    command = ["--network", "unet_tokens", "--folder", str(tmp_path), "--work", str(tmp_path)]
    command += ["--photographs", *map(str, sources)]
    for stages in ("1", "2"):
        monkeypatch.setattr(sys, "argv", ["photographs", *command, "--stages", stages])
        training.main()
    assert seen == ["own", "others", "others", "own", "others"]  # the twin begins anew
    card = json.loads((tmp_path / f"{checkpoint_name('unet_tokens')}.json").read_text())
    assert card["test_psnr_unseen"].keys() == card["test_psnr_unseen_others_tokens"].keys()
    assert card["test_psnr_unseen"] != card["test_psnr_unseen_others_tokens"]
    assert len(card["stages"]) == 2
    own = tmp_path / f"{checkpoint_name('unet_tokens')}.json"
    own.write_text(own.read_text().replace(card["sam_sha256"], "0" * 64))
    with pytest.raises(ValueError, match=r"another training \(sam_sha256\)"):
        training.main()


def test_the_committed_network_with_tokens_is_of_todays_sam_and_unet():
    card = load_card(checkpoint_name("unet_tokens"))
    assert card["sam_sha256"] == load_card(SAM)["sha256"]
    assert card["start_sha256"] == load_card(checkpoint_name("unet"))["sha256"]
    assert card["command"].endswith(f"--stages {len(card['stages'])}")
