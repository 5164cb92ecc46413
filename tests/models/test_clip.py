import json
import warnings

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip import SIMPLE_IMAGENET_TEMPLATES
from open_clip.model import CLIP, convert_weights_to_fp16
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import nn

from paperlib.data.download import DownloadError
from paperlib.models.checkpoints import CheckpointError, halve, save_checkpoint
from paperlib.models.clip import (
    TOWERS,
    CompactTokenizer,
    build_small_clip,
    class_features,
    denormalise,
    encode_images,
    image_size,
    load_clip,
    normalise,
    preprocess,
    published_clips,
    read_clip_tensors,
    zero_shot_top1,
)

TEXTS = ["a photo of a cat.", "a photo of a fire engine and an apple."]
TINY = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 60, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture
def tokenizer():
    return CompactTokenizer.of(TEXTS)


@pytest.fixture
def tiny(monkeypatch):
    """A config of open_clip that has the keys of OpenAI's ViT-B/32 and few weights."""
    from open_clip import factory

    monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-B-32-quickgelu", TINY)
    torch.manual_seed(0)
    return CLIP(**TINY).eval()


def as_openai(model, path):
    """A TorchScript archive in half precision with OpenAI's three notes, as OpenAI publishes."""
    convert_weights_to_fp16(model)

    class Published(nn.Module):
        def __init__(self):
            super().__init__()
            for name, child in model.named_children():
                setattr(self, name, child)
            for name, value in model.named_parameters(recurse=False):
                setattr(self, name, nn.Parameter(value.data))
            for name, value in (("input_resolution", 32), ("context_length", 77)):
                self.register_buffer(name, torch.tensor(value))
            self.register_buffer("vocab_size", torch.tensor(60))

        def forward(self, x):
            return x * self.logit_scale

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.trace(Published(), torch.ones(1)), path)


def test_compact_tokens_stand_for_open_clip_s(tokenizer):
    full = SimpleTokenizer()
    for text, row in zip(TEXTS, tokenizer(TEXTS), strict=True):
        expected = [full.sot_token_id, *full.encode(text), full.eot_token_id]
        assert [tokenizer.kept[token] for token in row[: len(expected)]] == expected
        assert not row[len(expected) :].any()
        assert row.argmax() == len(expected) - 1  # where the text tower reads its feature
    assert tokenizer(TEXTS).dtype == torch.long and tokenizer(TEXTS).shape == (2, 16)
    torch.testing.assert_close(tokenizer(TEXTS[0]), tokenizer(TEXTS)[:1])


def test_unknown_words_are_spelt_and_long_texts_cut(tokenizer):
    full = SimpleTokenizer()
    word = "photosynthesis"
    assert any(token not in tokenizer.kept for token in full.encode(word))
    kept = [tokenizer.kept[token] for token in tokenizer.encode(word)]
    assert full.decode(kept).strip() == word
    long = tokenizer("photo " * 50)[0]
    assert long[-1] == tokenizer.vocab_size - 1 and (long[1:-1] < tokenizer.vocab_size - 2).all()
    known = CompactTokenizer(tokenizer.kept)
    torch.testing.assert_close(known(TEXTS), tokenizer(TEXTS))


@pytest.mark.parametrize("tower", TOWERS)
def test_small_clips_are_open_clip_s(tower, tokenizer):
    model = build_small_clip(tower, tokenizer.vocab_size).eval()
    assert type(model) is CLIP and image_size(model) == 64
    kind = "ModifiedResNet" if tower == "resnet" else "VisionTransformer"
    assert type(model.visual).__name__ == kind
    images, texts = model(torch.randn(2, 3, 64, 64), tokenizer(TEXTS))[:2]
    assert images.shape == texts.shape == (2, 128)
    blocks = {"resnet": (1, 1, 2, 1), "vit": 6, "deep_vit": 10}[tower]
    if tower == "resnet":
        assert tuple(len(getattr(model.visual, f"layer{i}")) for i in (1, 2, 3, 4)) == blocks
    else:
        assert len(model.visual.transformer.resblocks) == blocks


@pytest.mark.parametrize("tower", TOWERS)
def test_small_clips_are_saved_and_loaded(tower, tokenizer, tmp_path):
    model = halve(build_small_clip(tower, tokenizer.vocab_size)).eval()
    vocabulary = " ".join(map(str, tokenizer.kept))
    card = {"architecture": f"clip-{tower}", "command": "train", "vocabulary": vocabulary}
    save_checkpoint(model, "my-clip", card, tmp_path)
    loaded, words = load_clip("my-clip", folder=tmp_path)
    torch.testing.assert_close(words(TEXTS), tokenizer(TEXTS))
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(loaded.encode_image(x), model.encode_image(x))
    assert not loaded.training
    weights = tmp_path / "my-clip.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        load_clip("my-clip", folder=tmp_path)


def write_safetensors(model, folder):
    path = folder / "ViT-B-32.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


def write_training_checkpoint(model, folder):
    path = folder / "ViT-B-32.pt"
    weights = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights}, path)
    return path


def write_bin(model, folder):
    path = folder / "ViT-B-32.bin"
    torch.save(model.state_dict(), path)
    return path


def write_openai(model, folder):
    path = folder / "ViT-B-32.pt"
    as_openai(model, path)
    return path


@pytest.mark.parametrize(
    "write", [write_openai, write_safetensors, write_training_checkpoint, write_bin]
)
@pytest.mark.parametrize("by", ["file", "folder", "environment"])
def test_published_weights_in_every_format(tiny, tmp_path, monkeypatch, write, by):
    path = write(tiny, tmp_path)
    source = {"file": path, "folder": tmp_path, "environment": None}[by]
    if by == "environment":
        monkeypatch.setenv("PAPERLIB_CLIP", str(tmp_path))
    model, tokenizer = load_clip("ViT-B/32", source)
    tiny.float()
    x, tokens = torch.randn(2, 3, 32, 32), torch.randint(60, (2, 77))
    torch.testing.assert_close(model.encode_image(x), tiny.encode_image(x))
    torch.testing.assert_close(model.encode_text(tokens), tiny.encode_text(tokens))
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert not model.training and tokenizer(TEXTS).shape == (2, 77)


def test_openai_s_archive_also_loads_through_open_clip(tiny, tmp_path):
    as_openai(tiny, tmp_path / "model.pt")
    theirs = open_clip.load_openai_model(str(tmp_path / "model.pt"), device="cpu")
    ours = read_clip_tensors(tmp_path / "model.pt")
    assert ours.keys() == theirs.state_dict().keys()
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours[key].float(), value)


def test_published_files_are_open_clip_s():
    from open_clip.pretrained import get_pretrained_cfg

    assert len(published_clips()) == 9
    for config, remote in published_clips().values():
        assert remote.url == get_pretrained_cfg(config, "openai")["url"]
        assert remote.sha256 == remote.url.split("/")[-2]


def test_a_config_of_open_clip_with_a_file(tiny, tmp_path):
    model, _ = load_clip("ViT-B-32-quickgelu", write_safetensors(tiny, tmp_path))
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model.encode_image(x), tiny.encode_image(x))


def test_missing_weights_say_what_to_do(tmp_path, monkeypatch):
    message = r"(?s)ViT-L-14-336px.pt, 934,088,680 bytes.*https://openaipublic.*PAPERLIB_CLIP="
    with pytest.raises(DownloadError, match=message):
        load_clip("ViT-L/14@336px", tmp_path)
    monkeypatch.delenv("PAPERLIB_CLIP", raising=False)
    monkeypatch.setenv("PAPERLIB_CACHE", str(tmp_path))

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr("pooch.retrieve", offline)
    with pytest.raises(DownloadError, match=message):
        load_clip("ViT-L/14@336px")


def is_refused(path, tensors):
    """Whether a damaged file is; the same tensors come from one that is not."""
    try:
        found = read_clip_tensors(path)
    except CheckpointError:
        return True
    assert all(value.equal(found[key]) for key, value in tensors.items())
    return False


def test_wrong_weights_are_named(tiny, tmp_path):
    save_file({"logit_scale": torch.zeros(())}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="(?s)does not fit ViT-B/32.*Missing key"):
        load_clip("ViT-B/32", tmp_path / "a.safetensors")
    as_openai(tiny, tmp_path / "b.pt")
    whole = (tmp_path / "b.pt").read_bytes()
    (tmp_path / "b.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="b.pt is no whole"):
        load_clip("ViT-B/32", tmp_path / "b.pt")
    (tmp_path / "b.pt").write_bytes(whole)
    read, refused = read_clip_tensors(tmp_path / "b.pt"), 0
    spread = range(0, len(whole) - 98, len(whole) // 40)
    for place in (*spread, *range(len(whole) - 98, len(whole))):  # a byte is another one
        damaged = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        (tmp_path / "b.pt").write_bytes(damaged)
        refused += is_refused(tmp_path / "b.pt", read)
    assert refused > 20
    (tmp_path / "b.pt").write_text("text")
    with pytest.raises(CheckpointError, match="b.pt is no whole"):
        load_clip("ViT-B/32", tmp_path / "b.pt")
    (tmp_path / "x-clip-vit.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="name='RN5000': valid are .*x-clip-vit.*ViT-L/14@336px"):
        load_clip("RN5000", folder=tmp_path)
    with pytest.raises(ValueError, match="tower='mlp': valid are 'resnet', 'vit'"):
        build_small_clip("mlp", 10)
    with pytest.raises(ValueError, match="model: Linear has no visual tower"):
        image_size(nn.Linear(2, 2))


def test_pixels_to_input_and_back():
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    images = torch.randint(256, (2, 3, 20, 20), dtype=torch.uint8)
    expected = torch.stack(
        [(images[:, c].float() / 255 - mean[c]) / std[c] for c in range(3)], dim=1
    )
    torch.testing.assert_close(preprocess(images, 20), expected)
    torch.testing.assert_close(denormalise(normalise(images / 255)), images / 255)
    flat = torch.full((1, 3, 8, 8), 51, dtype=torch.uint8)
    torch.testing.assert_close(denormalise(preprocess(flat, 20)), torch.full((1, 3, 20, 20), 0.2))


def test_class_features_equal_open_clip_s(tokenizer):
    model = build_small_clip("vit", tokenizer.vocab_size)
    names = ["cat", "fire engine"]
    theirs = open_clip.build_zero_shot_classifier(
        model.eval(), tokenizer, names, SIMPLE_IMAGENET_TEMPLATES, None
    )
    ours = class_features(model, tokenizer, names, SIMPLE_IMAGENET_TEMPLATES)
    torch.testing.assert_close(ours, theirs.T)
    with pytest.raises(ValueError, match="0 names, 7 templates"):
        class_features(model, tokenizer, [], SIMPLE_IMAGENET_TEMPLATES)


def test_top1_against_one_image_at_a_time(tokenizer):
    model = build_small_clip("resnet", tokenizer.vocab_size).train()
    images = torch.randint(256, (7, 3, 32, 32), dtype=torch.uint8)
    texts = F.normalize(torch.randn(3, 128), dim=-1)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    ours = zero_shot_top1(model, texts, images, labels, batch=3)
    assert model.training
    model.eval()
    right = 0
    with torch.no_grad():
        for image, label in zip(images, labels, strict=True):
            feature = model.encode_image(preprocess(image[None], 64))[0]
            similarity = [F.cosine_similarity(feature, text, dim=0).item() for text in texts]
            right += similarity.index(max(similarity)) == label
    assert ours == right / 7
    features = encode_images(model, preprocess(images, 64), batch=2)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(7))
