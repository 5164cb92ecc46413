"""ViT-B at 1024 pixels over mutual TLS: the masks are SAM's, and exposure is as promised.

    python benchmarks/bench_pedsam_full_size.py

Random weights, written as the published file is (half a minute, 375 MB in a temporary folder); four
server processes of this machine, with certificates of an authority made for the occasion; a
photograph of 16:9 with the prompts of `PROMPTS`. Prints what each server was sent, how far
embeddings and masks are from those of segment_anything's own encoder, and the memory. The exit
status is 1 if a mask differs where SAM's own logit is farther than `CLOSE` from its threshold, if a
server was sent more than its bound, or if the edge took more than `MOST` bytes. Takes 5 GB. Not
part of the tests.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from segment_anything import SamPredictor

from paperlib.data.photographs import free_photograph
from paperlib.models.sam import build_sam, load_sam
from paperlib.pedsam.remote.certificates import make_certificates
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.processes import COMMAND
from paperlib.pedsam.small_sam.segmentation import replace_encoder
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import area, bound
from paperlib.pedsam.split.pixels import windows_in
from paperlib.pedsam.split.worker import WindowBlocks
from paperlib.runtime import peak_memory

NAME, SERVERS, CLOSE, MOST = "vit_b", 4, 1e-5, 1.5e9
HEIGHT, WIDTH = 1080, 1920
PROMPTS = {"a box": {"box": np.array([700, 200, 1200, 900])}} | {
    f"a point at {x}, {y}": {"point_coords": np.array([[x, y]]), "point_labels": np.array([1])}
    for x, y in ((960, 540), (200, 900))
}


@contextlib.contextmanager
def servers(weights: Path, certificates: Path) -> Iterator[list[str]]:
    """Addresses of servers with certificates; they end with this context."""
    line = [*COMMAND, "--sam", NAME, "--weights", str(weights), "--until-stdin-closes"]
    line += ["--certificates", str(certificates), "--copies", str(SERVERS)]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as started:
        try:
            yield [json.loads(started.stdout.readline())["address"] for _ in range(SERVERS)]
        finally:
            started.stdin.close()


def logits(predictor: SamPredictor) -> dict[str, np.ndarray]:
    """Of the masks that answer each of `PROMPTS`."""
    return {
        name: predictor.predict(**prompt, return_logits=True)[0] for name, prompt in PROMPTS.items()
    }


@torch.inference_mode()
def main() -> int:
    """Print what was found; returns the exit status."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rocket = free_photograph("rocket")[:360]
    picture = np.asarray(Image.fromarray(rocket).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    with tempfile.TemporaryDirectory(prefix="pedsam-") as place:
        folder, weights = Path(place), Path(place) / "sam_vit_b_random.pth"
        torch.save(build_sam(NAME).state_dict(), weights)
        sam = load_sam(NAME, weights)
        server, client = make_certificates(folder / "certificates", ["127.0.0.1"], ["edge"])
        begun = time.monotonic()
        with (
            servers(weights, server) as addresses,
            EdgeCompute(
                WindowBlocks(sam.image_encoder),
                addresses,
                assignment="random",
                secret=b"sixteen random b",
                certificates=client,
                deadline=600,
            ) as edge,
        ):
            split = PartitionedEncoder(sam.image_encoder, edge)
            ours = SamPredictor(replace_encoder(sam, split))
            with edge.picture("rocket", HEIGHT, WIDTH):
                ours.set_image(picture)
        print(f"over servers: {time.monotonic() - begun:.0f} s with their start")
    print(edge.ledger.exposure().round(4).to_string(index=False))
    failed = edge.table().query("server != 'edge' and status != 'OK'")
    whole = 0, 0, HEIGHT, WIDTH
    sizes = [area(box) for box in windows_in(split.grid, split.patch, whole)]
    promised, sent = bound(sizes, SERVERS, area(whole)) / area(whole), edge.ledger.exposure().share
    print(f"largest share {sent.max():.4f}, bound {promised:.4f}; {len(failed)} calls failed")
    peak = peak_memory()
    print(f"peak of the edge: {peak / 1e6:.0f} MB")
    found = logits(ours)
    own = SamPredictor(sam)
    own.set_image(picture)
    print(f"embeddings: {(own.features - ours.features).abs().max():.1e} apart")
    differs = 0
    for name, expected in logits(own).items():
        other = (expected > 0) != (found[name] > 0)
        differs += int((other & (abs(expected) > CLOSE)).sum())
        apart = abs(expected - found[name]).max()
        size = abs(expected).mean()
        print(f"{name}: {other.sum()} of {other.size} pixels differ; ", end="")
        print(f"logits {apart:.1e} apart, of {size:.1e} in the mean")
    return int(differs > 0 or sent.max() > promised or len(failed) > 0 or peak > MOST)


if __name__ == "__main__":
    sys.exit(main())
