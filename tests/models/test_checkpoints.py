"""Checkpoints: what is saved comes back, and damage of every kind is named."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from paperlib.files import FileError
from paperlib.models.checkpoints import (
    CheckpointError,
    halve,
    load_card,
    load_checkpoint,
    read_tensors,
    read_weights,
    save_checkpoint,
)
from paperlib.models.clip import load_clip
from paperlib.models.cnn import CNNS, build_cnn
from paperlib.models.sam import SMALL, load_sam
from paperlib.paths import CHECKPOINTS
from paperlib.pedsam.attacks.networks import load_attack

CARD = {
    "architecture": "resnet20",
    "data": "random numbers",
    "accuracy": 0.1,
    "command": "python -m train --all",
}


def published_weights() -> dict[str, Tensor]:
    """Weights with the names and shapes of the published ResNet-20: no batch counters."""
    generator = torch.Generator().manual_seed(0)

    def norm(name: str, channels: int) -> dict[str, Tensor]:
        return {
            f"{name}.weight": torch.rand(channels, generator=generator) + 0.5,
            f"{name}.bias": torch.randn(channels, generator=generator) * 0.2,
            f"{name}.running_mean": torch.randn(channels, generator=generator) * 0.2,
            f"{name}.running_var": torch.rand(channels, generator=generator) + 0.5,
        }

    def convolution(name: str, out: int, into: int) -> dict[str, Tensor]:
        weight = torch.randn(out, into, 3, 3, generator=generator) / (9 * into) ** 0.5
        return {f"{name}.weight": weight}

    weights = convolution("conv1", 16, 3) | norm("bn1", 16)
    into = 16
    for stage, channels in enumerate((16, 32, 64), 1):
        for block in range(3):
            for number in (1, 2):
                weights |= convolution(f"layer{stage}.{block}.conv{number}", channels, into)
                weights |= norm(f"layer{stage}.{block}.bn{number}", channels)
                into = channels
    weights["linear.weight"] = torch.randn(10, 64, generator=generator)
    weights["linear.bias"] = torch.randn(10, generator=generator)
    return weights


@pytest.fixture
def saved(tmp_path, randomised):
    save_checkpoint(randomised("resnet20"), "small", CARD, tmp_path)
    return tmp_path


def test_published_weights_give_the_published_logits(tmp_path, images, plain):
    path = tmp_path / "resnet20.safetensors"
    weights = published_weights()
    assert len(weights) == 97
    save_file(weights, path)
    model = read_weights(build_cnn("resnet20"), path)
    assert not model.training
    with torch.inference_mode():
        logits = model(images())
    torch.testing.assert_close(logits, plain["resnet20"](weights, images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CNNS)
def test_saved_model_comes_back(name, tmp_path, randomised):
    model = randomised(name).to(memory_format=torch.channels_last)
    path = save_checkpoint(model, "mine", CARD | {"architecture": name}, tmp_path)
    again = load_checkpoint("mine", tmp_path)
    assert path == tmp_path / "mine.safetensors"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mine.json", "mine.safetensors"]
    assert not again.training
    assert again.state_dict().keys() == model.state_dict().keys()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for key, value in halve(model).state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
        torch.testing.assert_close(value, before[key], rtol=1e-3, atol=1e-6)


def test_card_has_the_checksum(saved):
    card = load_card("small", saved)
    weights = (saved / "small.safetensors").read_bytes()
    assert card == CARD | {"sha256": hashlib.sha256(weights).hexdigest()}


def test_interrupted_save_leaves_the_old_files(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("paperlib.files.os.fsync", full)
        with pytest.raises(FileError, match="no space left"):
            save_checkpoint(build_cnn("resnet20"), "small", CARD, saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


# --- errors ---------------------------------------------------------------------------------


def test_missing_card_names_those_that_exist(saved, tmp_path):
    with pytest.raises(CheckpointError, match=r"no card .*other\.json.* that folder are small"):
        load_checkpoint("other", saved)
    with pytest.raises(CheckpointError, match=r"no card .* that folder are none"):
        load_checkpoint("other", tmp_path / "nowhere")


def test_missing_weights_name_the_command(saved):
    (saved / "small.safetensors").unlink()
    message = r"no weights .*small\.safetensors: train them with `python -m train --all`"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint("small", saved)


@pytest.mark.parametrize("damage", ["flipped bit", "truncated", "empty"])
def test_damaged_weights(damage, saved):
    path = saved / "small.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes({"flipped bit": data, "truncated": data[:-1000], "empty": b""}[damage])
    size = f"{os.path.getsize(path):,}"
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint("small", saved)
    text = str(caught.value)
    assert f"small.safetensors ({size} bytes) is damaged" in text
    assert "`python -m train --all`" in text


def test_card_that_is_no_json(saved):
    (saved / "small.json").write_text('{"architecture": "resn')
    with pytest.raises(CheckpointError, match=r"small\.json is no JSON"):
        load_checkpoint("small", saved)


def test_card_of_another_architecture(saved):
    card = load_card("small", saved) | {"architecture": "vgg_small"}
    (saved / "small.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=r"small\.safetensors does not fit SmallVGG"):
        load_checkpoint("small", saved)


def test_card_of_an_unknown_architecture(saved):
    card = load_card("small", saved) | {"architecture": "resnet18"}
    (saved / "small.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="'resnet18' is unknown: valid are resnet20"):
        load_checkpoint("small", saved)


def change_weights(folder: Path, change: str) -> Path:
    path = folder / "changed.safetensors"
    weights = published_weights()
    if change == "other shape":
        weights["linear.weight"] = torch.zeros(100, 64)
    elif change == "missing":
        del weights["layer2.0.conv1.weight"]
    elif change == "too many":
        weights["layer4.weight"] = torch.zeros(1)
    save_file(weights, path)
    if change == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif change == "no safetensors":
        path.write_bytes(b"<html>not found</html>")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("other shape", "does not fit ResNet20: .*linear.weight"),
        ("missing", "does not fit ResNet20: .*layer2.0.conv1.weight"),
        ("too many", "does not fit ResNet20: .*layer4.weight"),
        ("truncated", "is no whole safetensors file"),
        ("no safetensors", "is no whole safetensors file"),
    ],
)
def test_weights_that_do_not_fit(change, message, tmp_path):
    path = change_weights(tmp_path, change)
    with pytest.raises(CheckpointError, match=rf"(?s)changed\.safetensors {message}"):
        read_weights(build_cnn("resnet20"), path)


def test_no_weights_at_all(tmp_path):
    with pytest.raises(CheckpointError, match=r"no weights at .*other\.safetensors"):
        read_weights(build_cnn("resnet20"), tmp_path / "other.safetensors")


@pytest.mark.parametrize("form", ["plain", "training checkpoint of data-parallel"])
def test_weights_in_the_format_of_pytorch(form, tmp_path):
    weights, path = published_weights(), tmp_path / "resnet20.th"
    if form == "plain":
        torch.save(weights, path)
    else:
        parallel = {f"module.{key}": value for key, value in weights.items()}
        torch.save({"state_dict": parallel, "best_prec1": 91.7, "epoch": 200}, path)
    model = read_weights(build_cnn("resnet20"), path)
    torch.testing.assert_close(model.conv1.weight.detach(), weights["conv1.weight"])


class Harmful:
    """What unpickling would run."""

    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_files_of_pytorch_that_hold_something_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "resnet20.pth"
    whole = r"resnet20\.pth is no whole PyTorch file of tensors"
    torch.save({"conv1.weight": Harmful()}, path)
    with pytest.raises(CheckpointError, match=whole):
        read_tensors(path)
    assert not (tmp_path / "harmed").exists()
    torch.save(published_weights(), path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match=whole):
        read_tensors(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match=r"resnet20\.pth holds no state_dict"):
        read_tensors(path)


@pytest.mark.parametrize(
    "make",
    [
        torch.Tensor.to_sparse,
        lambda zeros: torch.quantize_per_tensor(zeros, 0.1, 0, torch.qint8),
        lambda zeros: zeros.to("meta"),
    ],
    ids=["sparse", "quantized", "meta"],
)
@pytest.mark.filterwarnings("ignore")  # torch's own, of what it will no longer store
def test_tensors_without_plain_numbers_are_named(tmp_path, make):
    torch.save({"a": make(torch.zeros(2))}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth holds a without plain numbers"):
        read_tensors(tmp_path / "weights.pth")


DAMAGE = r"weights\.pth is no whole PyTorch file of tensors: it is damaged, or holds something else"


def test_text_is_named_in_one_sentence(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_text("version https://git-lfs.github.com/spec/v1\nsize 375042383\n")
    with pytest.raises(CheckpointError, match=f"{DAMAGE}$"):
        read_tensors(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_every_flipped_byte_is_named_or_harmless(tmp_path, zipped, recwarn):
    """The older format has no checksums: there, other numbers cannot be told."""
    weights, path = {"a.weight": torch.ones(8, 4), "b.weight": torch.ones(4)}, tmp_path / "it.pth"
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    whole, refused, said = path.read_bytes(), 0, set()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = read_tensors(path)
        except CheckpointError as error:
            said.add(str(error).replace(str(tmp_path), ""))
            refused += 1
        else:
            if zipped:
                assert all((found[key] == value).all() for key, value in weights.items())
    assert said and not [words for words in said if "it.pth" not in words or "\n" in words]
    assert refused > 100 and not recwarn.list


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_numbers_that_are_not_finite_are_named(tmp_path, suffix, value):
    weights, path = published_weights(), tmp_path / f"weights.{suffix}"
    weights["bn1.bias"][3] = value
    (save_file if suffix == "safetensors" else torch.save)(weights, path)
    with pytest.raises(CheckpointError, match=f"{suffix} holds .* not finite, in bn1.bias$"):
        read_weights(build_cnn("resnet20"), path)


@pytest.mark.parametrize("content", [{3: torch.ones(2)}, {"state_dict": [1]}, {"a": "text"}])
def test_other_keys_and_values_are_named(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth holds no state_dict: tensors by name"):
        read_tensors(tmp_path / "weights.pth")


# --- the committed ones ---------------------------------------------------------------------


def names(*patterns):
    """Of the committed checkpoints that match; each has a card and weights."""
    found = {path.stem for pattern in patterns for path in CHECKPOINTS.glob(f"{pattern}.json")}
    weights = {
        path.stem for pattern in patterns for path in CHECKPOINTS.glob(f"{pattern}.safetensors")
    }
    assert found == weights
    return found


CLIP, SAM = names("*-clip-*"), names("sam-*", "pedsam-*")
CNN = names("*") - CLIP - SAM


@pytest.mark.parametrize(
    ("checkpoints", "megabytes"), [(CNN, 33), (SAM, 41), (CLIP, 49)], ids=["cnn", "sam", "clip"]
)
def test_committed_checkpoints_are_small(checkpoints, megabytes):
    files = [file for name in checkpoints for file in CHECKPOINTS.glob(f"{name}.*")]
    assert 0 < sum(file.stat().st_size for file in files) < 1e6 * megabytes


def load(name):
    if name in CLIP:
        return load_clip(name)[0]
    if name in SAM:
        kind = name.removeprefix("pedsam-")
        return load_sam(name) if name in SMALL else load_attack(kind)
    model = load_checkpoint(name)
    assert type(model) is CNNS[load_card(name)["architecture"]]
    return model


@pytest.mark.parametrize("name", sorted(CNN | SAM | CLIP))
def test_committed_checkpoints_load(name):
    assert all(value.isfinite().all() for value in load(name).state_dict().values())
