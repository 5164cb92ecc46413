"""Trained weights in ``data/checkpoints``: ``NAME.safetensors`` and a card ``NAME.json`` beside it.

The card says what the model is and where it comes from (architecture, data, recipe, accuracy, the
command that trains it) and carries the SHA-256 of the weights, which is checked on loading.
"""

import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from paperlib.files import write_files
from paperlib.models.cnn import build_cnn
from paperlib.paths import CHECKPOINTS


class CheckpointError(ValueError):
    """Weights that are missing, damaged or of another architecture."""


def save_checkpoint(
    model: nn.Module, name: str, card: dict[str, Any], folder: Path = CHECKPOINTS
) -> Path:
    """Write weights and card together; neither is ever left half-written.

    Weights are stored in half precision, so round them with `halve` before measuring what the
    card says.
    """
    halves = {key: _half(value).contiguous() for key, value in model.state_dict().items()}
    weights = save(halves)
    card = card | {"sha256": hashlib.sha256(weights).hexdigest()}
    path = folder / f"{name}.safetensors"
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_files({path: weights, path.with_suffix(".json"): text.encode()})
    return path


def halve(model: nn.Module) -> nn.Module:
    """Round the weights, in place, to what `save_checkpoint` keeps of them."""
    model.load_state_dict({key: _half(value) for key, value in model.state_dict().items()})
    return model


def load_card(name: str, folder: Path = CHECKPOINTS) -> dict[str, Any]:
    """The card of a checkpoint.

    Raises:
        CheckpointError: there is no such card, or it is no JSON; with the names that exist.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        names = ", ".join(sorted(card.stem for card in folder.glob("*.json"))) or "none"
        raise CheckpointError(f"no card {path}: checkpoints in that folder are {names}")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f"{path} is no JSON ({error}): restore it from the repository"
        ) from None
    missing = [key for key in ("architecture", "command", "sha256") if key not in card]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}: restore it from the repository")
    return card


def load_checkpoint(name: str, folder: Path = CHECKPOINTS) -> nn.Module:
    """The trained model of a card, in eval mode.

    Raises:
        CheckpointError: a file is missing, the weights are not those of the card, or they do not
            fit the architecture that the card names.
    """
    card = load_card(name, folder)
    return load_weights(name, build_cnn(card["architecture"], card.get("classes", 10)), folder)


def load_weights(name: str, model: nn.Module, folder: Path = CHECKPOINTS) -> nn.Module:
    """Load a checkpoint's weights, checked by their card, into a model and set eval mode.

    Raises:
        CheckpointError: a file is missing, the weights are not those of the card, or they do not
            fit the model.
    """
    card = load_card(name, folder)
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(f"no weights {path}: train them with `{card['command']}`")
    weights = path.read_bytes()
    if hashlib.sha256(weights).hexdigest() != card["sha256"]:
        raise CheckpointError(
            f"{path} ({len(weights):,} bytes) is damaged: its SHA-256 is not the card's. Restore "
            f"it from the repository, or train it again with `{card['command']}`"
        )
    return read_weights(model, path)


def read_weights(model: nn.Module, path: Path) -> nn.Module:
    """Load a file of weights into a model and set eval mode.

    Takes our checkpoints and the published ones of the same architecture and key names, as
    safetensors or as PyTorch's own format. A model on the meta device, which has no weights yet,
    takes the tensors of the file themselves, so that they are in memory once.

    Raises:
        CheckpointError: the file is missing or damaged, or has other keys or shapes.
    """
    tensors, due = read_tensors(path), model.state_dict()
    empty = any(each.is_meta for each in due.values())
    if empty:
        tensors = {
            key: each.to(due[key].dtype).contiguous() if key in due else each
            for key, each in tensors.items()
        }
    try:
        model.load_state_dict(tensors, strict=True, assign=empty)
    except RuntimeError as error:
        kind = type(model).__name__
        raise CheckpointError(f"{path} does not fit {kind}: {error}") from None
    return model.eval()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file or of a PyTorch one (.pt, .pth, .th), without running code.

    Of a training checkpoint it takes the ``state_dict``; the prefix ``module.`` of data-parallel
    training is dropped.

    Raises:
        CheckpointError: the file is missing, or not whole, or holds more than tensors, or numbers
            that are not finite.
    """
    if path.suffix != ".safetensors":
        content = read_pytorch(path)
        tensors = content.get("state_dict", content) if isinstance(content, dict) else content
        return {key.removeprefix("module."): value for key, value in checked(tensors, path).items()}
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}")
    try:
        return checked(load(path.read_bytes()), path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no whole safetensors file ({error})") from None


def _load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def read_pytorch(path: Path, read: Callable[[Path], Any] = _load) -> Any:
    """What a file in PyTorch's own format holds, on the CPU, without running code.

    The checksums in it, which PyTorch does not look at, are compared.

    Raises:
        CheckpointError: the file is missing, or not whole, or holds more than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged:
                raise ValueError(f"{damaged} in it has another checksum")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what a damaged byte seems to ask for
            return read(path)
    except Exception as error:  # of a dozen kinds, by the byte that is damaged
        raise CheckpointError(
            f"{path} is no whole PyTorch file of tensors: it is damaged, or holds something else"
        ) from error


def checked(tensors: Any, path: Path) -> dict[str, Tensor]:
    """The same, if it is tensors by name whose numbers are finite.

    Raises:
        CheckpointError: it is something else; with the file.
    """
    if not isinstance(tensors, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in tensors.items()
    ):
        raise CheckpointError(f"{path} holds no state_dict: tensors by name are needed")
    for key, value in tensors.items():
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise CheckpointError(
                f"{path} holds {key} without plain numbers: a dense one is needed"
            )
        if not value.isfinite().all():
            raise CheckpointError(f"{path} holds numbers that are not finite, in {key}")
    return dict(tensors)


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
