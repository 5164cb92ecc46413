r"""CLIP: open_clip's own classes, small ones that we train and OpenAI's full-size ones.

An image tower $f$ and a text tower $g$ map into one space; the class of an image $x$ is

$$\arg\max_c \; \cos\bigl(f(x), g(t_c)\bigr), \qquad t_c = \text{"a photo of a } c\text{."}$$

The small towers are open_clip's ModifiedResNet and VisionTransformer with smaller numbers in their
configs. Their text tower keeps only the tokens that its captions need, numbered anew by
`CompactTokenizer`, so that a checkpoint does not carry 49,408 embeddings. Source: Radford et al.,
arXiv 2103.00020; open_clip's model configs and its list of published weights.
"""

import contextlib
import csv
import logging
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from paperlib.data.download import RemoteFile, find
from paperlib.models.checkpoints import (
    CheckpointError,
    checked,
    load_card,
    load_weights,
    read_pytorch,
    read_tensors,
)
from paperlib.models.frozen import frozen
from paperlib.paths import CHECKPOINTS, DATA

Tokenizer = Callable[[Sequence[str]], Tensor]  # texts -> token indices (texts, context)

CONTEXT = 16  # tokens of a caption of the small CLIPs, start and end among them
EMBEDDING = 128
BYTES = 512  # CLIP's first tokens are all bytes, once inside and once at the end of a word
# In one forward pass: more take more memory, and on a CPU no less time.
IMAGE_BATCH, TEXT_BATCH = 50, 128
TEXT = {"context_length": CONTEXT, "width": 128, "heads": 2, "layers": 2}
TOWERS: dict[str, dict[str, Any]] = {
    "resnet": {"layers": [1, 1, 2, 1], "width": 32, "image_size": 64, "patch_size": None},
    "vit": {"layers": 6, "width": 192, "head_width": 64, "image_size": 64, "patch_size": 8},
    "deep_vit": {"layers": 10, "width": 192, "head_width": 64, "image_size": 64, "patch_size": 8},
}


class CompactTokenizer:
    """CLIP's tokenizer on a part of its vocabulary; a drop-in for open_clip's.

    A token that is left out is spelt in bytes, which are always kept, so any text has tokens.

    Attributes:
        kept: the kept tokens of CLIP's vocabulary, ascending; its indices are the new tokens.
        context_length: tokens of a text; longer texts are cut.
    """

    def __init__(self, kept: Iterable[int], context_length: int = CONTEXT) -> None:
        full = _full_tokenizer()
        special = {full.sot_token_id, full.eot_token_id}
        self.kept = tuple(sorted({*range(BYTES), *kept, *special}))
        self.context_length = context_length
        self._new = {token: index for index, token in enumerate(self.kept)}

    @classmethod
    def of(cls, texts: Iterable[str]) -> "CompactTokenizer":
        """The tokenizer that keeps what these texts need."""
        return cls({token for text in texts for token in _full_tokenizer().encode(text)})

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.kept)

    def encode(self, text: str) -> list[int]:
        """New tokens of a text, without start and end."""
        full = _full_tokenizer()
        tokens = []
        for token in full.encode(text):
            if token in self._new:
                tokens.append(self._new[token])
                continue
            symbols = full.decoder[token]
            *inner, last = symbols.removesuffix("</w>")
            ending = "</w>" if symbols.endswith("</w>") else ""
            tokens += [self._new[full.encoder[symbol]] for symbol in [*inner, last + ending]]
        return tokens

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """Token indices (texts, context_length), padded with 0, as a LongTensor."""
        texts = [texts] if isinstance(texts, str) else texts
        start, end = self.vocab_size - 2, self.vocab_size - 1
        rows = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            tokens = [start, *self.encode(text)[: self.context_length - 2], end]
            row[: len(tokens)] = torch.tensor(tokens)
        return rows


def build_small_clip(tower: str, vocabulary: int) -> CLIP:
    """A small CLIP for 64 × 64 images with random weights.

    Args:
        tower: one of `TOWERS`.
        vocabulary: tokens of its tokenizer.

    Raises:
        ValueError: unknown `tower`.
    """
    if tower not in TOWERS:
        raise ValueError(f"tower={tower!r}: valid are {', '.join(map(repr, TOWERS))}")
    model = CLIP(EMBEDDING, TOWERS[tower], TEXT | {"vocab_size": vocabulary})
    return model.to(memory_format=torch.channels_last)


def small_clip_name(tower: str, data: str) -> str:
    """Name of a small CLIP's checkpoint, such as ``openmoji-clip-vit``."""
    return f"{data}-clip-{tower}"


def load_clip(
    name: str, source: Path | str | None = None, folder: Path = CHECKPOINTS
) -> tuple[nn.Module, Tokenizer]:
    """A trained CLIP in float32 and eval mode, with its tokenizer.

    Args:
        name: a checkpoint of ours such as "openmoji-clip-vit"; one of OpenAI's models, "RN50" to
            "ViT-L/14@336px"; or a model config of open_clip, whose weights `source` gives.
        source: file of weights: OpenAI's .pt, or open_clip's as safetensors or PyTorch file; or a
            folder with OpenAI's. None takes ``$PAPERLIB_CLIP``, else the cache of downloads,
            where OpenAI's is fetched to if it is not there.
        folder: of our checkpoints.

    Raises:
        ValueError: unknown `name`, or a `source` for a checkpoint of ours.
        CheckpointError: weights that are missing, damaged or of another architecture.
        DownloadError: OpenAI's file is not in the folder given, or cannot be fetched.
    """
    if (folder / f"{name}.json").is_file():
        if source:
            raise ValueError(f"{source}: {name} is a checkpoint of ours, and has its own weights")
        card = load_card(name, folder)
        tokenizer = CompactTokenizer(map(int, card["vocabulary"].split()))
        model = build_small_clip(card["architecture"].removeprefix("clip-"), tokenizer.vocab_size)
        return load_weights(name, model, folder), tokenizer
    published = published_clips()
    config, remote = published.get(name, (name, None))
    if remote is None and (name not in open_clip.list_models() or source is None):
        ours = sorted(path.stem for path in folder.glob("*-clip-*.json"))
        raise ValueError(
            f"name={name!r}: valid are our checkpoints ({', '.join(ours) or 'none trained'}), "
            f"OpenAI's {', '.join(published)}, and a config of open_clip.list_models() together "
            "with `source`, its file of weights"
        )
    path = Path(source) if remote is None else find(remote, source)
    tensors = read_clip_tensors(path)
    with _quiet():
        model = open_clip.create_model(config, pretrained=None)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit {name}: {error}") from None
    return model.eval(), open_clip.get_tokenizer(config)


def published_clips(path: Path = DATA / "clip_weights.csv") -> dict[str, tuple[str, RemoteFile]]:
    """OpenAI's models: by OpenAI's name, the config of open_clip and the published file."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["name"]: (
                row["config"],
                RemoteFile(
                    dataset="clip",
                    name=row["file"],
                    url="https://openaipublic.azureedge.net/clip/models/"
                    f"{row['sha256']}/{row['file']}",
                    size=int(row["bytes"]),
                    sha256=row["sha256"],
                ),
            )
            for row in csv.DictReader(file)
        }


def read_clip_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by open_clip's names, from any format that CLIP weights are published in.

    OpenAI's files are TorchScript archives: their tensors are taken, their code is not run.

    Raises:
        CheckpointError: the file is missing, not whole, or holds no tensors.
    """
    if path.is_file() and _is_torchscript(path):
        tensors = checked(read_pytorch(path, _torchscript), path)
    else:
        tensors = read_tensors(path)
    shapes = ("input_resolution", "context_length", "vocab_size")  # OpenAI's notes beside weights
    return {key: value for key, value in tensors.items() if key not in shapes}


def _torchscript(path: Path) -> dict[str, Tensor]:
    return torch.jit.load(path, map_location="cpu").state_dict()


def normalise(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 height width"]:
    """Pixels in [0, 1] to the normalised pixel space that CLIP takes."""
    return (images - _channels(OPENAI_DATASET_MEAN, images)) / _channels(OPENAI_DATASET_STD, images)


def denormalise(images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 height width"]:
    """Back from the normalised pixel space; what lies outside [0, 1] stays there."""
    return images * _channels(OPENAI_DATASET_STD, images) + _channels(OPENAI_DATASET_MEAN, images)


def preprocess(
    images: UInt8[Tensor, "n 3 height width"], size: int
) -> Float[Tensor, "n 3 {size} {size}"]:
    """8-bit RGB images to CLIP's input: bicubic to `size` where that differs, then normalised."""
    pixels = images.float() / 255
    if images.shape[-2:] != (size, size):
        pixels = F.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True)
    return normalise(pixels.clamp(0, 1))


def class_features(
    model: nn.Module,
    tokenizer: Tokenizer,
    names: Sequence[str],
    templates: Sequence[Callable[[str], str]],
) -> Float[Tensor, "classes features"]:
    """Unit text feature of every class: the mean over its texts' unit features, made unit again.

    Raises:
        ValueError: no `names`, or no `templates`.
    """
    if not len(names) or not len(templates):
        raise ValueError(
            f"{len(names)} names, {len(templates)} templates: valid are at least one of each"
        )
    texts = [template(name) for name in names for template in templates]
    device = next(model.parameters()).device
    with frozen(model), torch.no_grad():
        rows = [
            model.encode_text(tokens.to(device), normalize=True)
            for tokens in tokenizer(texts).split(TEXT_BATCH)
        ]
    means = torch.cat(rows).unflatten(0, (len(names), len(templates))).mean(1)
    return F.normalize(means, dim=-1)


def encode_images(
    model: nn.Module, images: Float[Tensor, "n 3 size size"], batch: int = IMAGE_BATCH
) -> Float[Tensor, "n features"]:
    """Unit features of normalised images, in eval mode, `batch` of them at a time."""
    device = next(model.parameters()).device
    with frozen(model), torch.no_grad():
        return torch.cat(
            [
                model.encode_image(
                    part.to(device, memory_format=torch.channels_last), normalize=True
                )
                for part in images.split(batch)
            ]
        )


def zero_shot_top1(
    model: nn.Module,
    texts: Float[Tensor, "classes features"],
    images: UInt8[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    batch: int = IMAGE_BATCH,
) -> float:
    """Share of 8-bit images whose most similar class (as of `class_features`) is theirs."""
    size, right = image_size(model), 0
    for part, truth in zip(images.split(batch), labels.split(batch), strict=True):
        features = encode_images(model, preprocess(part, size), batch)
        right += recognised(features, texts, truth).sum().item()
    return right / len(labels)


def recognised(
    features: Float[Tensor, "n features"],
    texts: Float[Tensor, "classes features"],
    labels: Int[Tensor, " n"],
) -> Bool[Tensor, " n"]:
    """Whether the class most similar to an image is its own, on the CPU; of unit features."""
    return (features @ texts.T).argmax(1).cpu() == labels


def image_size(model: nn.Module) -> int:
    """Height and width in pixels that a CLIP takes.

    Raises:
        ValueError: the model has no visual tower, or takes images that are not square.
    """
    visual = getattr(model, "visual", None)
    if visual is None:
        kind = type(model).__name__
        raise ValueError(f"model: {kind} has no visual tower; a CLIP of open_clip is valid")
    size = visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise ValueError(f"model: it takes images of {height} x {width} pixels; square are valid")
    return height


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    channels = torch.tensor(values, dtype=like.dtype)
    return channels.to(like.device, non_blocking=True).view(3, 1, 1)


@lru_cache(maxsize=1)
def _full_tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings in the log, such as open_clip's about weights that we load ourselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _is_torchscript(path: Path) -> bool:
    """Whether a zip archive of torch has a folder of code, as `torch.jit.save` writes it."""
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in entry for entry in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):  # damaged: its reader says so
        return False
