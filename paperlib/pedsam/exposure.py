"""What servers see of a picture that is encoded in crops, and how often spot checks catch a lie."""

import contextlib
import itertools
import math
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from segment_anything import SamPredictor
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.utils.amg import generate_crop_boxes
from torch import Tensor

from paperlib.pedsam.remote.edge import LOG, EdgeCompute
from paperlib.pedsam.remote.listener import serving
from paperlib.pedsam.remote.lying import LIES, LyingService
from paperlib.pedsam.remote.processes import local_servers
from paperlib.pedsam.remote.service import Limits
from paperlib.pedsam.small_sam.segmentation import replace_encoder
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import area, bound, patches
from paperlib.pedsam.split.pixels import seen, windows_in
from paperlib.pedsam.split.schedule import rounds
from paperlib.pedsam.split.worker import WindowBlocks

OVERLAP = 512 / 1500  # of crops, as SamAutomaticMaskGenerator has it
FALSE, CHECKED = (1, 4), (1, 4, 16)  # windows that a server lies about, and that are checked


def crops_table(
    name: str,
    sam: Sam,
    image: UInt8[np.ndarray, "height width 3"],
    servers: Sequence[int],
    layers: int,
    secret: bytes,
) -> pd.DataFrame:
    """Encode a picture and its crops, as ``SamAutomaticMaskGenerator`` does, over real servers.

    Args:
        name: of the SAM, which the servers load.
        sam: the same.
        image: RGB.
        servers: numbers of them.
        layers: of crops, at most.
        secret: of the edge, for random assignments; of any length.

    Returns:
        A row for each number of servers, layers and whether the picture was open: servers,
        "layers of crops", picture (open, or not), encodings, share (largest of the picture's pixels
        that a server was sent), bound, edge (share of the content of all encodings that stayed).
    """
    (height, width), rows, encoder = image.shape[:2], [], sam.image_encoder
    with local_servers(max(servers), ["--sam", name]) as started:
        addresses = [server.address for server in started]
        for k, opened in itertools.product(servers, (False, True)):
            chosen = {"assignment": "random", "secret": sha256(secret).digest()}
            with EdgeCompute(WindowBlocks(encoder), addresses[:k], **chosen) as edge:
                predictor = SamPredictor(replace_encoder(sam, PartitionedEncoder(encoder, edge)))
                boxes, at = generate_crop_boxes((height, width), layers, OVERLAP)
                for number, (left, top, right, bottom) in enumerate(boxes):
                    with contextlib.ExitStack() as stack:
                        if opened:
                            stack.enter_context(edge.picture("it", height, width))
                            stack.enter_context(edge.crop(left, top, right, bottom))
                        predictor.set_image(image[top:bottom, left:right])
                    if at[number + 1 : number + 2] != [at[number]]:  # the last of a layer
                        row = {"servers": k, "layers of crops": at[number]}
                        row |= {"picture": "open" if opened else "not open"}
                        row |= {"encodings": number + 1}
                        rows.append(row | _seen(edge, boxes, height, width))
    return pd.DataFrame(rows)


def _seen(
    edge: EdgeCompute, crops: Sequence[Sequence[int]], height: int, width: int
) -> dict[str, float]:
    """Largest share of a picture that a server was sent in these crops, and what stayed."""
    worker, table, shares = edge.worker, edge.ledger.table(), []
    whole = 0, 0, height, width
    for _, part in table.groupby("server"):
        boxes = set()
        for image, windows in part.groupby("image").window:
            left, top, right, bottom = crops[image]
            places = windows_in(worker.grid, worker.patch, (top, left, bottom, right))
            boxes |= {places[window] for window in windows.unique()}
        shares.append(seen(boxes) / area(whole))
    stayed = np.mean([edge.ledger.stayed(image) for image in set(table.image)])
    sizes = [area(box) for box in windows_in(worker.grid, worker.patch, whole)]
    due = bound(sizes, len(edge.servers), area(whole)) / area(whole)
    return {"share": max(shares), "bound": due, "edge": stayed}


def checks_table(
    encoder: ImageEncoderViT, image: Float[Tensor, "1 3 size size"], trials: int, secret: bytes
) -> pd.DataFrame:
    """How often spot checks notice a server that answers with zeros, in one round.

    Args:
        encoder: of segment_anything.
        image: as ``Sam.preprocess`` gives it.
        trials: rounds that are measured.
        secret: of the edge, of any length; decides what is checked.

    Returns:
        A row for each number of false windows and of checked ones: false, checked, formula,
        measured (share of the rounds), "edge, ms" (CPU of the checks in a round).
    """
    worker, (turn, *_), rows = WindowBlocks(encoder), rounds(encoder, "exact"), []
    values, n = patches(image, worker.patch), worker.grid.count
    for m, r in itertools.product(FALSE, CHECKED):
        liar, caught = LyingService(worker, Limits(), LIES["zeros"], windows=range(m)), 0
        LOG.disabled = True  # it warns of every lie
        with (
            serving([liar]) as addresses,
            EdgeCompute(worker, addresses, checks=r, secret=sha256(secret).digest()) as edge,
        ):
            for _ in range(trials):
                edge.begin(image).run(0, turn, values)
                caught += bool(edge.distrusted)
                edge.distrusted.clear()
        LOG.disabled = False
        row = {"false": m, "checked": r, "formula": 1 - math.comb(n - m, r) / math.comb(n, r)}
        row["measured"] = caught / trials
        rows.append(row | {"edge, ms": 1e3 * edge.table().query("server != 'edge'").check.mean()})
    return pd.DataFrame(rows)
