"""The small SAM's geometry, and published weights from wherever a user has them."""

import re

import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry

from paperlib.data import download
from paperlib.data.download import DownloadError
from paperlib.models import sam as sams
from paperlib.models.checkpoints import CheckpointError, halve, load_card, save_checkpoint
from paperlib.models.sam import PUBLISHED, SMALL, build_sam, build_small_sam, load_sam, resize_sam
from paperlib.paths import CHECKPOINTS


def same(first, second):
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """vit_b stands for a small SAM here, so that its file is small; nothing is in the cache."""
    monkeypatch.setitem(sam_model_registry, "vit_b", build_small_sam)
    monkeypatch.setenv("PAPERLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PAPERLIB_SAM", raising=False)
    torch.manual_seed(3)
    return build_small_sam()


def test_the_small_sam_has_windows_with_padding_between_global_blocks():
    encoder = build_small_sam().image_encoder
    assert [block.window_size for block in encoder.blocks] == [6, 6, 0, 6, 6, 0]
    assert encoder.pos_embed.shape[1:3] == (20, 20)
    assert 20 % 6 != 0
    assert encoder.blocks[0].attn.use_rel_pos


@torch.inference_mode()
def test_resized_positions_are_interpolated():
    sam = build_small_sam(256, 5)
    ramp = torch.linspace(0, 1, 16).view(1, 1, 16, 1)
    sam.image_encoder.pos_embed.copy_(ramp.expand(1, 16, 16, 160))
    sam.image_encoder.blocks[0].attn.rel_pos_w.copy_(torch.linspace(-1, 1, 9)[:, None])
    same = resize_sam(sam, 256, 5).state_dict()
    assert all(torch.equal(value, same[key]) for key, value in sam.state_dict().items())
    larger = resize_sam(sam, 320, 6)
    places = larger.image_encoder.pos_embed[0, 0, :, 0]
    assert places.shape == (20,) and (places.diff() > 0).all()
    assert (places[9] + places[10] - 1).abs() < 1e-6
    found = larger.image_encoder.blocks[0].attn.rel_pos_w
    torch.testing.assert_close(found[:, 0], -found.flip(0)[:, 0])
    assert len(found) == 11
    larger([{"image": torch.zeros(3, 320, 200), "original_size": (320, 200)}], False)


def test_predictor_takes_the_small_sam():
    predictor = SamPredictor(build_small_sam())
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (120, 200, 3), generator=generator, dtype=torch.uint8)
    predictor.set_image(image.numpy())
    masks, scores, low = predictor.predict(
        point_coords=None, box=torch.tensor([9, 9, 99, 80]).numpy()
    )
    assert masks.shape == (3, 120, 200) and scores.shape == (3,) and low.shape == (3, 80, 80)


@pytest.mark.parametrize("name", SMALL)
def test_committed_weights_are_those_of_their_card(name):
    sam = load_sam(name)
    card = load_card(name)
    assert card["parameters"] == sum(parameter.numel() for parameter in sam.parameters())
    assert not sam.training
    assert name in card["command"]


def test_both_checkpoints_fit_into_the_repository():
    files = [CHECKPOINTS / f"{name}.safetensors" for name in SMALL]
    assert sum(path.stat().st_size for path in files) < 25e6


def test_small_weights_come_from_a_folder(tmp_path):
    torch.manual_seed(1)
    sam = halve(build_small_sam())
    save_checkpoint(sam, "sam-small", {"architecture": "sam-small", "command": "x"}, tmp_path)
    assert same(load_sam("sam-small", tmp_path), sam)


def test_the_published_file_of_vit_b(tmp_path):
    """At its true size, keys and name."""
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]()
    torch.save(sam.state_dict(), tmp_path / PUBLISHED["vit_b"].name)
    size = (tmp_path / PUBLISHED["vit_b"].name).stat().st_size
    assert size == pytest.approx(PUBLISHED["vit_b"].size, rel=1e-3)
    assert same(load_sam("vit_b", tmp_path), sam)


@pytest.mark.parametrize("how", ["source", "environment"])
@pytest.mark.parametrize("what", ["folder", "file"])
def test_weights_are_found_where_the_user_says(small, monkeypatch, tmp_path, how, what):
    path = tmp_path / PUBLISHED["vit_b"].name
    torch.save(small.state_dict(), path)
    place = tmp_path if what == "folder" else path
    if how == "environment":
        monkeypatch.setenv("PAPERLIB_SAM", str(place))
    assert same(load_sam("vit_b", place if how == "source" else None), small)


def test_a_missing_file_says_what_to_do(small, tmp_path):
    with pytest.raises(DownloadError) as caught:
        load_sam("vit_b", tmp_path)
    for words in (
        "sam_vit_b_01ec64.pth",
        "375,042,383 bytes",
        "dl.fbaipublicfiles.com",
        "PAPERLIB_SAM=",
    ):
        assert words in str(caught.value)


def test_without_a_network_the_same_is_said(small, monkeypatch):
    def unreachable(*_arguments, **_options):
        raise OSError("no network")

    monkeypatch.setattr(download.pooch, "retrieve", unreachable)
    with pytest.raises(
        DownloadError, match="no network(.|\n)*375,042,383 bytes(.|\n)*PAPERLIB_SAM="
    ):
        load_sam("vit_b")


def test_a_downloaded_file_is_read_from_the_cache(small, monkeypatch, tmp_path):
    path = tmp_path / "cache" / "sam" / PUBLISHED["vit_b"].name
    path.parent.mkdir(parents=True)
    torch.save(small.state_dict(), path)
    digest = download.pooch.file_hash(str(path))
    remote = sams._published(path.name, path.stat().st_size, digest)
    monkeypatch.setitem(PUBLISHED, "vit_b", remote)
    assert same(load_sam("vit_b"), small)


def test_a_truncated_file_is_no_weights(small, tmp_path):
    path = tmp_path / PUBLISHED["vit_b"].name
    torch.save(small.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match="no whole PyTorch file"):
        load_sam("vit_b", tmp_path)


def test_weights_of_another_sam_do_not_fit(small, tmp_path):
    weights = small.state_dict()
    weights.pop("image_encoder.pos_embed")
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="does not fit Sam"):
        load_sam("vit_b", tmp_path / "other.pth")


@pytest.mark.parametrize("make", [build_sam, load_sam])
def test_an_unknown_name_is_told_the_valid_ones(make):
    with pytest.raises(ValueError, match="'vit_x' is unknown: valid are sam-small, .*vit_h"):
        make("vit_x")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_have_a_checksum(name):
    remote = PUBLISHED[name]  # the digits in its name are of another checksum, MD5
    assert re.fullmatch(r"[0-9a-f]{64}", remote.sha256)
    assert re.fullmatch(rf"sam_{name}_[0-9a-f]{{6}}\.pth", remote.name)


def test_sams_with_random_weights_are_the_same_at_every_look():
    random = sams.RandomSams(["sam-small"], seed=3)
    (first,), second = random.values(), random["sam-small"]
    assert first is not second
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@torch.inference_mode()
def test_a_drawn_box_is_a_mask_of_the_pixels_inside():
    """All of them, to a fraction of a cell; corners are pixels inside."""
    prompts = build_small_sam(drawn_boxes=True).prompt_encoder
    boxes = torch.tensor([[0.0, 0, 319, 319], [10, 20, 29, 21], [317, 4, 319, 7], [5, 5, 5, 5]])
    masks = prompts.drawn(boxes)
    assert masks.shape == (4, 1, 80, 80)
    shares = (masks[:, 0] + 1) / 2
    pixels = 16 * shares.sum((1, 2))
    torch.testing.assert_close(pixels, torch.tensor([320.0**2, 20 * 2, 3 * 4, 1]))
    inside = shares[1].nonzero()
    assert inside.amin(0).tolist() == [5, 2] and inside.amax(0).tolist() == [5, 7]
    assert shares[1, 5, 2] == 0.25 and shares[1, 5, 4] == 0.5


@torch.inference_mode()
def test_a_prompt_encoder_that_draws_boxes_is_sams_but_for_them():
    torch.manual_seed(0)
    drawing, plain = build_small_sam(drawn_boxes=True), build_small_sam()
    plain.load_state_dict(drawing.state_dict())
    ours, sams_own = drawing.prompt_encoder, plain.prompt_encoder
    box, points = torch.tensor([[40.0, 50, 90, 120]]), (torch.rand(1, 2, 2), torch.ones(1, 2))
    mask = torch.randn(1, 1, 80, 80)
    for prompt in ((points, None, None), (points, None, mask), (None, box, mask)):
        for one, two in zip(ours(*prompt), sams_own(*prompt), strict=True):
            torch.testing.assert_close(one, two)
    for (sparse, dense), equal in (
        (sams_own(None, box, ours.drawn(box)), True),
        (sams_own(None, box, None), False),
    ):
        assert torch.equal(ours(None, box, None)[0], sparse)
        assert torch.equal(ours(None, box, None)[1], dense) == equal
    predictor = SamPredictor(build_sam("sam-small-photographs"))
    predictor.set_image(torch.zeros(50, 80, 3, dtype=torch.uint8).numpy())
    assert predictor.predict(box=box[0].numpy(), multimask_output=False)[0].shape == (1, 50, 80)
