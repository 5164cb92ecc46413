"""The image tower of a quantized CLIP as a file that needs no code of ours, with integer weights.

    python -m paperlib.d4c.export --model openmoji-clip-vit --quantized vit-w4a8.safetensors \\
        --out vit-w4a8.onnx

The ending of `--out` says which: ``.onnx`` is for onnxruntime and others, with products on integers
wherever a layer's input has one range; ``.pt2`` is a program of torch.export, which computes what
is simulated, bit for bit. Both take a batch of any size, normalised as the CLIP takes images, and
give features that are not normalised. The text tower is not exported: its features of the classes
or captions are computed once.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import onnxruntime
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from paperlib.d4c.exported_layers import exported_tower
from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.storage import float_bytes, load_quantized
from paperlib.files import write_files
from paperlib.models.checkpoints import CheckpointError
from paperlib.models.clip import image_size, load_clip

TORCH, ONNX = ".pt2", ".onnx"
ENDINGS = f"{ONNX} (onnxruntime) and {TORCH} (torch.export)"


class ExportedTower(nn.Module):
    """An image tower read from a file; it goes wherever a model that encodes images goes.

    Attributes:
        visual: says the size of the images.
        run: images to features.
        place: empty, on the device that computes.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], size: int) -> None:
        super().__init__()
        self.run, self.visual = run, nn.Module()
        self.visual.image_size = size
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Features (b, width) of images (b, 3, size, size), normalised as CLIP's are."""
        features = self.run(image)
        return F.normalize(features, dim=-1) if normalize else features


def export(model: QuantizedClip, path: Path) -> None:
    """Write the image tower; the file is never left half-written.

    Args:
        model: with ranges, switched on, on the CPU; left as it is.
        path: whose ending says the format.

    Raises:
        ValueError: another ending, no ranges yet, or activations that are not exported.
    """
    check_ending(path)
    size = image_size(model)
    tower = exported_tower(model, integers=path.suffix == ONNX)
    write_files({path: to_onnx(tower, size) if path.suffix == ONNX else to_torch(tower, size)})


def to_torch(tower: nn.Module, size: int) -> bytes:
    """A tower as a program of torch.export, for any number of images `size` pixels high."""
    with torch.no_grad():
        program = torch.export.export(tower, _example(size), dynamic_shapes=_any_batch())
    for node in program.graph.nodes:  # where in the code it came from, longer than the program
        for name in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"):
            node.meta.pop(name, None)
    file = BytesIO()
    with _quiet():
        torch.export.save(program, file)
    return file.getvalue()


def to_onnx(tower: nn.Module, size: int) -> bytes:
    """A tower as a file of ONNX, for any number of images `size` pixels high."""
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            tower,
            _example(size),
            dynamo=True,
            optimize=False,  # it would unpack small weights; onnxruntime does when it loads them
            dynamic_shapes=_any_batch(),
            input_names=["images"],
            output_names=["features"],
            verbose=False,
        )
    file = program.model_proto
    for part in (file.graph, *file.functions):  # where in the code it came from
        del part.metadata_props[:]
        for node in part.node:
            del node.metadata_props[:]
    return file.SerializeToString()


def load_exported(path: Path) -> ExportedTower:
    """Read what `export` wrote; on the CPU. Such files may hold code: load those that you trust.

    Raises:
        CheckpointError: the file is missing, damaged, or no image tower.
        ValueError: another ending.
    """
    check_ending(path)
    if not path.is_file():
        raise CheckpointError(f"no exported model at {path}: paperlib.d4c.export writes one")
    try:
        shape, run = _read_onnx(path) if path.suffix == ONNX else _read_torch(path)
    except Exception as error:  # readers of both have no class of errors in common
        first = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} is no whole exported model ({first})") from None
    if len(shape) != 4 or not isinstance(shape[3], int):
        raise CheckpointError(f"{path} takes {shape}, no images: paperlib.d4c.export writes towers")
    return ExportedTower(run, shape[3])


def check_ending(path: Path) -> None:
    """Raise ValueError for a name that says no format."""
    if path.suffix not in (TORCH, ONNX):
        raise ValueError(f"{path}: valid are names that end in {ENDINGS}")


def largest_differences(
    model: QuantizedClip, exported: ExportedTower, images: Float[Tensor, "n 3 size size"]
) -> tuple[float, float]:
    """Largest and mean difference of the unit features of two towers."""
    with torch.inference_mode():
        ours, theirs = (m.encode_image(images, normalize=True) for m in (model, exported))
    difference = (ours - theirs).abs()
    return float(difference.max()), float(difference.mean())


def _read_torch(path: Path) -> tuple[Sequence[object], Callable[[Tensor], Tensor]]:
    with _quiet():
        program = torch.export.load(path)
    (name,) = program.graph_signature.user_inputs
    (entry,) = (node for node in program.graph.nodes if node.name == name)
    network = program.module()  # within a function, for it does not know eval()
    return tuple(entry.meta["val"].shape), lambda images: network(images)


def _read_onnx(path: Path) -> tuple[Sequence[object], Callable[[Tensor], Tensor]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what is wrong is raised
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    (entry,) = session.get_inputs()

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {entry.name: images.contiguous().numpy()})[0])

    return entry.shape, run


def _example(size: int) -> tuple[Tensor]:
    return (torch.zeros(2, 3, size, size),)


def _any_batch() -> tuple[dict[int, object]]:
    return ({0: torch.export.Dim("images", min=1, max=2**16)},)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the hints of exporters and readers for those who write such."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = argparse.ArgumentParser(
        prog="python -m paperlib.d4c.export", description=__doc__.splitlines()[0]
    )
    add = made.add_argument
    add("--model", required=True, help="that was quantized, as for paperlib.d4c.quantize")
    add("--weights", type=Path, help="its file, or the folder of OpenAI's files")
    add("--quantized", type=Path, required=True, help="file that paperlib.d4c.quantize wrote")
    add("--out", type=Path, required=True, help=f"ends in {ENDINGS}")
    return made


def run(options: argparse.Namespace) -> ExportedTower:
    """Export, read back and compare; sizes and differences are printed.

    Raises:
        ValueError: an option, or a file, that is not valid.
    """
    check_ending(options.out)
    clip, _ = load_clip(options.model, options.weights)
    model = load_quantized(options.quantized, clip)
    export(model, options.out)
    exported = load_exported(options.out)
    size = image_size(model)
    images = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))
    most, mean = largest_differences(model, exported, images)
    whole = float_bytes(model, "clip.visual.") / 1e6
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB, in float32 {whole:.2f} MB")
    print(f"read back, unit features of 8 images of noise: off by {mean:.1e}, at most {most:.1e}")
    return exported


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    try:
        run(parser().parse_args(arguments))
    except (ValueError, OSError) as error:  # what a user can mend, in a sentence
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
