"""Quantize one's own CLIP without data, from the command line: synthesise, quantize, measure, save.

    python -m paperlib.d4c.quantize --model RN50 --bits W4A8 --images d4c --data imagenet/val \\
        --out rn50-w4a8.safetensors

The model is one of OpenAI's, any open_clip config with its file of weights, or a checkpoint of this
project. What is found of the images and of the image tower is kept below `--work`: an interrupted
run goes on where it was. The defaults are the paper's settings, for which a GPU is meant; smaller
numbers of iterations are options.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pandas as pd
import torch
from torch import Tensor, nn
from torchvision import transforms

from paperlib.cache import cache_path
from paperlib.d4c.fidelity import UNLABELLED, Fidelity, fidelity
from paperlib.d4c.folding import check_foldable, quantize_folded
from paperlib.d4c.methods import ABLATION, METHODS, calibration_images
from paperlib.d4c.pipeline import quantize_image, quantize_text
from paperlib.d4c.prompts import GENERIC_NAMES, Template, ZeroShotTask, photo, zero_shot_task
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.retrieval import Pairs, by_chance, load_pairs, retrieval
from paperlib.d4c.settings import Settings, bit_widths
from paperlib.d4c.start import WHITE, Noise, Start
from paperlib.d4c.storage import float_bytes, load_quantized, save_quantized
from paperlib.d4c.synthesis import temperature_of
from paperlib.d4c.zero_shot import load_images
from paperlib.data import LabelledImages
from paperlib.data.cifar import load_cifar
from paperlib.data.class_folders import (
    SUFFIXES,
    ClassFolders,
    class_samples,
    drawn,
    load_class_folders,
)
from paperlib.data.class_tars import load_class_tar
from paperlib.data.picture import is_hidden
from paperlib.models.clip import (
    IMAGE_BATCH,
    Tokenizer,
    class_features,
    image_size,
    load_clip,
    normalise,
    preprocess,
)
from paperlib.paths import cache_dir
from paperlib.runtime import device, peak_memory

SETS = ("cifar10", "cifar100", "openmoji")  # that are named, not given as a folder
DATA_FREE = tuple(name for name in METHODS if name not in ("real", "scrambled"))
SYNTHESISED = (*ABLATION, "d4c_clipped")  # that take another start


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = parser().parse_args(arguments)
    if sys.stderr.isatty():  # bars with the time left, see paperlib.runtime.progress
        os.environ.setdefault("PAPERLIB_TTY", "/dev/tty")
    try:
        run(options)
    except (ValueError, OSError) as error:  # what a user can mend, in a sentence
        sys.exit(f"{type(error).__name__}: {error}")


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser(
        prog="python -m paperlib.d4c.quantize", description=__doc__.splitlines()[0]
    )
    add = made.add_argument
    add("--model", required=True, help="RN50, ViT-B/32, openmoji-clip-vit, an open_clip config")
    add("--weights", type=Path, help="its file, or the folder of OpenAI's files")
    add("--bits", default="W4A8", help="W2A2 to W8A8 (default: W4A8)")
    add("--images", default="d4c", help=f"{', '.join(DATA_FREE)}, or a folder of real images")
    add(
        "--data",
        help=f"what to measure on: {', '.join(SETS)}, a folder with a folder a class, a tar of one,"
        " ImageNet's tar files as they are, or a folder of images without classes",
    )
    add("--pairs", type=Path, help="CSV file with the columns image and text: retrieval on them")
    add("--test-images", type=int, help="draw so many of them (default: all)")
    add("--names", type=Path, help="file of names for the prompts, a line each")
    add("--template", help='of the prompts, such as "ein Foto von {}."')
    add(
        "--classes",
        type=Path,
        help="file of the classes' names, in the order of folders if any",
    )
    add(
        "--temperature",
        default=str(Settings.temperature),
        help="τ of the synthesis: a number or own, ten times the CLIP's own",
    )
    add("--start", choices=get_args(Noise), default="white", help="noise that D4C begins with")
    add("--fourier", action="store_true", help="D4C moves Fourier coefficients, not pixels")
    add("--count", type=int, default=Settings.images, help="calibration images")
    add("--prompts", type=int, default=Settings.prompts, help="texts for the text tower")
    add("--iterations", type=int, default=Settings.synthesis_iterations, help="of the synthesis")
    add(
        "--reconstruction",
        type=int,
        default=Settings.reconstruction_iterations,
        help="iterations a module; 0 keeps the nearest rounding",
    )
    add(
        "--fold",
        action="store_true",
        help="ViT: ranges of channels go into the LayerNorms, so that all its linear layers run on"
        " integers",
    )
    add("--seed", type=int, default=0)
    add("--work", type=Path, default=cache_dir() / "quantize", help="what is kept of a run")
    add("--out", type=Path, help="safetensors file for the quantized model")
    return made


def run(options: argparse.Namespace) -> tuple[QuantizedClip, Fidelity | None]:
    """All stages; their times are printed.

    Raises:
        ValueError: an option that is not valid, with those that are.
        FileNotFoundError: a file or folder that is not there.
    """
    settings = Settings(
        **bit_widths(options.bits),
        images=options.count,
        synthesis_iterations=options.iterations,
        reconstruction_iterations=options.reconstruction,
        seed=options.seed,
    )
    if options.out and options.out.suffix != ".safetensors":
        raise ValueError(f"--out {options.out}: valid is a name that ends in .safetensors")
    start = Start(options.start, options.fourier)
    if start != WHITE and options.images not in SYNTHESISED:
        raise ValueError(
            f"--images {options.images}: --start and --fourier go with {', '.join(SYNTHESISED)}"
        )
    names = _lines(options.names) or GENERIC_NAMES
    template = photo if options.template is None else _template(options.template)
    clip, tokenizer = load_clip(options.model, options.weights)
    if options.fold:
        check_foldable(clip)
    clip = clip.to(device())
    data = options.data and test_data(options.data, options, clip)
    pairs = options.pairs and load_pairs(options.pairs)
    given = _lines(options.classes) or ()
    task = data and task_of(options.data, data, given, template)
    templates = task.templates if task else (template,)
    changes = {"temperature": temperature_of(options.temperature, clip)}
    changes |= {"prompts": min(options.prompts, len(names) * len(templates))}
    settings = replace(settings, **changes)
    with _stage(f"calibration images: {options.images}"):
        images = calibration(
            *(options.images, clip, tokenizer, settings, names, template, start, options.work)
        )
    with _stage("weights and text tower"):
        text_done = quantize_text(clip, tokenizer, settings, templates, names)
    with _stage("image tower"):
        if options.fold:
            decides = text_done, text_done.settings, images, torch.__version__, device().type
            unfinished = cache_path(options.work, quantize_folded, *decides).with_suffix(".pt")
            quantized = quantize_folded(text_done, images, unfinished)
        else:
            quantized = quantize_image(text_done, images, options.work)
    for error in (error for error in quantized.errors if error.learned > error.before):
        print(f"{error.name}: keeps the nearest rounding, {error.undecided:.0%} was undecided")
    measured = None
    if data:
        what = "zero-shot Top-1" if data.classes else "fidelity"
        with _stage(f"{what} on {data.source}"):
            texts = [
                class_features(model, tokenizer, task.names, task.templates)
                for model in (clip, quantized)
            ]
            measured = fidelity(clip, quantized, *texts, batches(data, clip))
        right = ""
        if measured.top1 is not None:
            right = f"Top-1 {measured.top1:.1%} (float {measured.float_top1:.1%}), "
        print(
            f"{measured.images} images: {right}agreement {measured.agreement:.1%} on "
            f"{len(task.names)} names, cosine {measured.cosine:.4f}"
        )
    if options.out:
        save_quantized(quantized, options.out)
        again = load_quantized(options.out, clip.cpu()).encode_image(images[:1].cpu())
        same = torch.equal(again, quantized.cpu().encode_image(images[:1].cpu()))
        size, whole = options.out.stat().st_size / 1e6, float_bytes(quantized) / 1e6
        read = "read back: equal features" if same else "READ BACK: OTHER FEATURES"
        print(f"{options.out}: {size:.1f} MB instead of {whole:.1f}; {read}")
    if pairs:
        with _stage(f"retrieval on {len(pairs.files)} images, {len(pairs.texts)} texts"):
            print(retrieval_table(clip, quantized, tokenizer, pairs).to_string())
    return quantized, measured


def calibration(
    images: str,
    clip: nn.Module,
    tokenizer: Tokenizer,
    settings: Settings,
    names: Sequence[str],
    template: Template,
    start: Start,
    folder: Path,
) -> Tensor:
    """`settings.images` images by a method, or of a folder.

    Raises:
        ValueError: neither, or a folder with fewer images.
    """
    if images in DATA_FREE:
        return calibration_images(
            images, clip, tokenizer, settings, None, folder, names, template, start
        )
    if not Path(images).is_dir():
        raise ValueError(
            f"--images {images}: valid are {', '.join(DATA_FREE)}, and a folder of real images"
        )
    found = load_folder(Path(images), settings.images, settings.seed)
    return next(iter(found.batches(transform(clip), settings.images)))[0]


def test_data(
    name: str, options: argparse.Namespace, clip: nn.Module
) -> LabelledImages | ClassFolders:
    """The images to measure on.

    Raises:
        ValueError: no such set, folder or tar, or it has fewer images than were asked for.
    """
    if name == "openmoji":
        return load_images(name, "test", options.test_images or 1_000, options.seed)
    if name in SETS:
        found = load_cifar(name, "test")
        return found.sample(options.test_images, options.seed) if options.test_images else found
    if not Path(name).exists():
        valid = f"{', '.join(SETS)}, and a folder or a tar of images"
        raise ValueError(f"--data {name}: valid are {valid}")
    load = load_folder if Path(name).is_dir() else load_class_tar
    return load(Path(name), options.test_images, options.seed)


def load_folder(folder: Path, count: int | None, seed: int) -> ClassFolders:
    """The images of a folder: with a folder a class, or those in it, all `UNLABELLED`.

    Args:
        folder, count, seed: as for `load_class_folders`, which raises what this does.
    """
    if class_samples(folder)[1]:
        return load_class_folders(folder, count, seed)
    files = [path for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES]
    own = [(path, 0) for path in files if not is_hidden(path, folder)]
    found = drawn(own, (folder.name,), folder, count, seed)
    return ClassFolders([(file, UNLABELLED) for file, _ in found.samples], (), found.source)


def task_of(
    name: str, data: LabelledImages | ClassFolders, names: Sequence[str], template: Template
) -> ZeroShotTask:
    """Names and templates of the classes.

    ImageNet's names and its 80 templates are open_clip's, where the folders are its thousand.

    Args:
        name: of the set, or the folder or tar that it was read from.
        data: the images.
        names: of the classes, by the user; empty takes the set's, those of the folders, or for
            images without classes our generic names.
        template: of a folder's classes.

    Raises:
        ValueError: names that are not as many as the classes, or WordNet numbers without names.
    """
    if isinstance(data, ClassFolders) and not data.folders:
        return ZeroShotTask(tuple(names or GENERIC_NAMES), (template,))
    if names and len(names) != len(data.classes):
        raise ValueError(f"--classes: {len(names)} names for {len(data.classes)} classes")
    if not isinstance(data, ClassFolders):
        task = zero_shot_task(name)
    elif data.is_wordnet and not names:
        task = zero_shot_task("imagenet")
        if len(data.classes) != len(task.names):
            raise ValueError(
                f"{data.source} has {len(data.classes)} folders with WordNet numbers, not "
                "ImageNet's 1000: --classes names them"
            )
    else:
        task = ZeroShotTask(data.classes, (template,))
    return replace(task, names=tuple(names)) if names else task


def retrieval_table(
    clip: nn.Module, quantized: nn.Module, tokenizer: Tokenizer, pairs: Pairs
) -> pd.DataFrame:
    """Recall (%) at random, of the CLIP in floating point, and of the quantized one."""
    found = {"by chance": by_chance(pairs.own)}
    for name, model in (("float", clip), ("quantized", quantized)):
        found[name] = retrieval(model, tokenizer, pairs, transform(clip))
    return (100 * pd.concat(found, axis=1)).stack(level=0, future_stack=True).round(1)


def batches(
    data: LabelledImages | ClassFolders, clip: nn.Module
) -> Iterable[tuple[Tensor, Tensor]]:
    """Images as the model takes them, with their labels."""
    if isinstance(data, ClassFolders):
        return data.batches(transform(clip), IMAGE_BATCH)
    size = image_size(clip)
    parts = zip(data.images.split(IMAGE_BATCH), data.labels.split(IMAGE_BATCH), strict=True)
    return ((preprocess(images, size), labels) for images, labels in parts)


def transform(clip: nn.Module) -> Callable[[object], Tensor]:
    """A photograph as CLIP takes it: the shorter side to its size, the middle, normalised."""
    size = image_size(clip)
    return transforms.Compose(
        [
            transforms.Resize(size, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            lambda pixels: normalise(pixels[None])[0],
        ]
    )


def _lines(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    names = tuple(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())))
    if not names:
        raise ValueError(f"{path} has no names: valid is one a line")
    return names


def _template(pattern: str) -> Template:
    if pattern.count("{}") != 1:
        raise ValueError(f"--template {pattern!r}: valid is a text with one {{}} for the name")
    return lambda name: pattern.replace("{}", name)


@contextmanager
def _stage(title: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds, peak = time.monotonic() - began, peak_memory() / 1e9
    print(f"{title}: {seconds:.0f} s, peak of memory {peak:.1f} GB", flush=True)


if __name__ == "__main__":
    main()
