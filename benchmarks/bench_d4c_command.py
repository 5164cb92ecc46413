"""The command `paperlib.d4c.quantize` at OpenAI's sizes: time and peak memory of every stage.

    python benchmarks/bench_d4c_command.py FOLDER

Writes RN50 and ViT-B/32 with random weights to FOLDER, in the format of OpenAI's files (TorchScript
in half precision with three notes beside the weights), and runs the command on them: D4C's 128
images and 512 prompts, W4A8, the quantized model saved and read back. Two iterations of the
synthesis and two a module replace 3,000 and 20,000; neither memory nor the time of an iteration
depends on the weights. Seconds are of the processor, which other load hardly changes; run with
OMP_NUM_THREADS=1. Forty minutes of a core and 8 GB; not part of the tests.

The whole run on one GPU is estimated from what the release's README reports for a float32 RTX
A6000: its synthesis, and its reconstruction of ViT-B/32 times the ratio of the multiplications of
both towers, which every iteration of a module runs through once for each sample.
"""

import argparse
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import psutil
import torch
from bench_d4c_full_size import full_size
from open_clip.model import CLIP, convert_weights_to_fp16
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from paperlib.d4c.reported import reported
from paperlib.models.clip import image_size
from paperlib.runtime import set_threads

MODELS = ("RN50", "ViT-B/32")
STAGE = re.compile(r"^(?P<stage>.+): \d+ s, peak of memory (?P<gb>[\d.]+) GB$")
NOTES = ("input_resolution", "context_length", "vocab_size")


class Published(nn.Module):
    """A CLIP with OpenAI's three notes beside its weights."""

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        for name, child in clip.named_children():
            setattr(self, name, child)
        for name, value in clip.named_parameters(recurse=False):
            setattr(self, name, nn.Parameter(value.data))
        for name, value in zip(
            NOTES, (image_size(clip), clip.context_length, clip.vocab_size), strict=True
        ):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Something to trace: nobody runs the code of such a file."""
        return x * self.logit_scale


def write(model: str, file: Path) -> None:
    """The file of a model, with random weights."""
    clip = full_size(model)
    convert_weights_to_fp16(clip)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.jit.save(torch.jit.trace(Published(clip), torch.ones(1)), file)


def run(model: str, folder: Path) -> pd.DataFrame:
    """Stages of the command, a row each, and what it printed on the way."""
    short = model.replace("/", "-")
    file = folder / f"{short}.pt"
    if not file.exists():
        write(model, file)
    words = [sys.executable, "-m", "paperlib.d4c.quantize", "--model", model]
    words += ["--weights", str(file), "--bits", "W4A8", "--images", "d4c"]
    words += ["--iterations", "2", "--reconstruction", "2"]
    words += ["--data", "openmoji", "--test-images", "64"]
    work = folder / f"work-{short}"
    shutil.rmtree(work, ignore_errors=True)  # what an earlier run kept would take no seconds
    words += ["--work", str(work), "--out", str(folder / f"{short}.safetensors")]
    rows = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        clock = psutil.Process(process.pid)
        before = 0.0  # with the start of Python, in the first stage
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if match := STAGE.match(line):
                now = sum(clock.cpu_times()[:2])
                rows.append([model, match["stage"], round(now - before), float(match["gb"])])
                before = now
    if process.returncode:
        sys.exit(f"{model}: the command ended with {process.returncode}")
    return pd.DataFrame(rows, columns=["model", "stage", "processor_seconds", "peak_gb"])


def multiplications(model: str) -> int:
    """Of one image and one text, in both towers."""
    clip = full_size(model)
    image = torch.zeros(1, 3, image_size(clip), image_size(clip))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        clip.encode_image(image)
        clip.encode_text(torch.zeros(1, clip.context_length, dtype=torch.long))
    return counter.get_total_flops() // 2


def estimate() -> pd.DataFrame:
    """Seconds of the paper's whole run on an RTX A6000."""
    synthesis = reported("synthesis_seconds").query("method == 'd4c'").set_index("encoder").value
    (known,) = reported("reconstruction_seconds").itertuples()
    counts = {model: multiplications(model) for model in MODELS}
    rows = [
        {
            "model": model,
            "multiplications, billions": count / 1e9,
            "synthesis, s": synthesis[model],
            "reconstruction, s": known.value * count / counts[known.encoder],
        }
        for model, count in counts.items()
    ]
    return pd.DataFrame(rows).set_index("model")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    set_threads()
    whole = estimate()
    stages = pd.concat([run(model, folder) for model in MODELS])
    stages.to_csv(folder / "stages.csv", index=False)
    print(stages.to_string(index=False), whole.round(1).to_string(), sep="\n\n")


if __name__ == "__main__":
    main()
