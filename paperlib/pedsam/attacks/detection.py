r"""Detection attack: which objects of a picture a detector still finds in what one server has.

    python -m paperlib.pedsam.attacks.detection PHOTOGRAPHS --detectors FOLDER --count 100

The paper judges privacy by detection on a server's view, without its details; these are ours. What
a detector of `paperlib.pedsam.attacks.detectors` finds in the whole picture, as the encoder gets
it, is the reference: of $r$ objects there and $n$ that it finds in an image of the server's, $m$
are the same (`right`), and over pictures $i$

$$\mathrm{recall} = \frac{\sum_i m_i}{\sum_i r_i}, \qquad
\mathrm{precision} = \frac{\sum_i m_i}{\sum_i n_i},$$

with the interval of a bootstrap over the pictures. The images are its view, black where it has
nothing; the view filled with its mean colour; and the nearest reconstruction. For each picture and
number of servers one of them is drawn, of those that are sent something. One server is the positive
control: it has the picture, and both are 1. The null control is the view of another picture: what
there is in most photographs (a person in the middle) is found in it too.

A server sees what its windows are made of, the pixels that resizing reads for them among it
(`paperlib.pedsam.split.pixels`), as the exposure ledger counts. The command prints the table and
writes the counts to ``detection.csv``.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Num, UInt8
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torchvision.ops import box_iou

from paperlib import intervals
from paperlib.data.photographs import draw_photographs
from paperlib.data.picture import read_picture
from paperlib.files import write_files
from paperlib.models.sam import load_sam
from paperlib.pedsam.attacks.detectors import Detector, Found, load_detectors
from paperlib.pedsam.attacks.nearest import look
from paperlib.pedsam.attacks.networks import GRID, SAM
from paperlib.pedsam.split.partition import KINDS, SERVERS, area, assign
from paperlib.pedsam.split.pixels import seen, windows_in
from paperlib.runtime import progress
from paperlib.seeds import derive, generator
from paperlib.terminal import Parser, say

OVERLAP = 0.5  # of two boxes, intersection over union, from which they are of one object
RESAMPLES = 2000
MANY = 8  # servers, and more
VIEW, FILLED, REBUILT, OTHER = "view", "mean fill", "reconstruction", "view of another"


def right(found: Found, reference: Found) -> Bool[Tensor, " found"]:
    """Which of the boxes that were found are of an object of the reference.

    The surest first, each takes the object of its kind that it overlaps most, by `OVERLAP` or more,
    of those that none has taken.
    """
    hits = torch.zeros(len(found), dtype=torch.bool)
    if not len(found) or not len(reference):
        return hits
    overlaps = box_iou(found.boxes, reference.boxes)
    overlaps[found.kinds[:, None] != reference.kinds] = 0
    for box in found.scores.argsort(descending=True, stable=True).tolist():
        overlap, which = overlaps[box].max(0)
        if overlap >= OVERLAP:
            hits[box] = True
            overlaps[:, which] = 0
    return hits


def counts(found: Found, reference: Found) -> dict[str, int]:
    """How many there are in the reference, how many were found, and how many of these are right."""
    hits = int(right(found, reference).sum())
    return {"reference": len(reference), "found": len(found), "right": hits}


def photographs(
    count: int | None, seed: int, source: Path | None = None
) -> Iterator[UInt8[np.ndarray, "_height _width 3"]]:
    """Photographs as they are, one by one (see `draw_photographs`)."""
    return map(read_picture, progress(draw_photographs(count, seed, source), "photographs"))


def measure(
    sam: Sam,
    pictures: Iterable[UInt8[np.ndarray, "_height _width 3"]],
    detectors: Mapping[str, Detector],
    servers: Sequence[int],
    assignment: str,
    seed: int,
) -> pd.DataFrame:
    """What detectors find in the images of one server of each number.

    Args:
        sam: the small one, as committed.
        pictures: RGB, two or more.
        detectors: by what they find.
        servers: numbers of them, each 1 to 16.
        assignment: see `paperlib.pedsam.split.partition.assign`.
        seed: of secret and servers.

    Returns:
        A row for each picture, number of servers, image and detector: picture, servers, image,
        detector, share (of the picture's pixels, that the server sees), reference, found, right.

    Raises:
        ValueError: one picture alone, which leaves nothing for the null control; no valid number of
            servers.
    """
    side, secret = sam.image_encoder.img_size, derive(seed, "secret").to_bytes(8)
    rows, references, alone = [], [], []
    for number, picture in enumerate(pictures):
        resized = ResizeLongestSide(side).apply_image(picture)
        x = sam.preprocess(torch.as_tensor(resized).permute(2, 0, 1)[None].float())
        boxes = GRID.contents(*resized.shape[:2], side // GRID.tokens)
        content, whole = [area(box) for box in boxes], (0, 0, *picture.shape[:2])
        places = windows_in(GRID, side // GRID.tokens, whole)
        windows = []
        for k in servers:
            owners = assign(assignment, GRID.count, k, GRID, secret, number, sizes=content)
            having = sorted({owner for owner in owners if owner >= 0})
            draw = generator(derive(seed, "server", number), "of", k)
            mine = having[int(torch.randint(len(having), (), generator=draw))]
            windows.append([window for window, owner in enumerate(owners) if owner == mine])
        sight = look(sam, x, resized, GRID, windows, committed=True)
        references.append({name: detect(resized) for name, detect in detectors.items()})
        alone.append({})
        images = {VIEW: sight.views, FILLED: sight.filled, REBUILT: sight.rebuilt}
        for place, k in enumerate(servers):
            share = seen([places[window] for window in windows[place]]) / area(whole)
            for image, each in images.items():
                for name, detect in detectors.items():
                    found = detect(each[place])
                    row = {"picture": number, "servers": k, "image": image, "detector": name}
                    row |= {"share": share} | counts(found, references[number][name])
                    rows.append(row)
                    if image == VIEW:
                        alone[number][k, name] = share, found
    if len(references) < 2:
        raise ValueError("pictures: one alone has no other for the null control, give two or more")
    for number, reference in enumerate(references):  # the null control: the view of the one before
        for (k, name), (share, found) in alone[number - 1].items():
            row = {"picture": number, "servers": k, "image": OTHER, "detector": name}
            rows.append(row | {"share": share} | counts(found, reference[name]))
    return pd.DataFrame(rows)


def summary(measured: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Recall and precision over the pictures, with the ends of their intervals at `LEVEL`.

    Args:
        measured: of `measure`.
        seed: of the bootstrap.

    Returns:
        A row for each detector, image and number of servers: pictures, share, reference, found,
        right, recall, "recall from", "recall to", and the same of precision; NaN where nothing is
        there to be found, or nothing was found.
    """
    rows = {}
    keys = ["detector", "image", "servers"]
    for key, part in measured.groupby(keys, sort=False):
        sums = part[["reference", "found", "right"]].sum()
        row = {"pictures": len(part), "share": part.share.mean()} | sums.to_dict()
        for name, of in {"recall": "reference", "precision": "found"}.items():
            row[name] = sums.right / sums[of] if sums[of] else np.nan
            ends = bootstrap(part.right.to_numpy(), part[of].to_numpy(), seed)
            row |= {f"{name} from": ends[0], f"{name} to": ends[1]}
        rows[key] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(keys)


def controls(measured: pd.DataFrame, seed: int) -> tuple[float, float]:
    """Recall of objects where nothing was rebuilt, and of the null control.

    Args:
        measured: of `measure`, with one server and two among the numbers.
        seed: of the bootstrap.

    Returns:
        What is found in the mean fill of one of two servers; and in the view of another picture,
        the largest over the numbers of servers but one.
    """
    recall = summary(measured, seed).recall["objects"].unstack("servers")
    return float(recall.loc[FILLED, 2]), float(recall.loc[OTHER].drop(1).max())


def falls(measured: pd.DataFrame, seed: int) -> tuple[float, tuple[float, float]]:
    """Smallest fall of the recall of objects on reconstructions to the next number of servers.

    Args:
        measured: of `measure`.
        seed: of the bootstrap.

    Returns:
        The fall, and the ends of its interval at `LEVEL` over the pictures; in each resample the
        smallest one counts.
    """
    return _of_recalls(lambda recall: -recall[REBUILT].sort_index().diff().max(), measured, seed)


def over_fill(measured: pd.DataFrame, seed: int) -> tuple[float, tuple[float, float]]:
    """Largest recall of objects on reconstructions minus on the mean fill, from `MANY` servers on.

    Args and returns as for `falls`; in each resample the largest one counts.
    """

    def largest(recall: pd.Series) -> float:
        more = recall[REBUILT] - recall[FILLED]
        return more[more.index >= MANY].max()

    return _of_recalls(largest, measured, seed)


def bootstrap(
    parts: Num[np.ndarray, " n"], wholes: Num[np.ndarray, " n"], seed: int
) -> tuple[float, float]:
    """Ends of the interval of sum over sum at the papers' level, by drawing pictures anew.

    Args:
        parts, wholes: of each picture.
        seed: of the draws; the same pictures for all that has as many.
    """

    def ratio(pictures: np.ndarray) -> float:
        whole = wholes[pictures].sum()
        return parts[pictures].sum() / whole if whole else np.nan

    return _interval(ratio, len(parts), seed)


def _interval(
    statistic: Callable[[np.ndarray], float], pictures: int, seed: int
) -> tuple[float, float]:
    draws = RESAMPLES, derive(seed, "bootstrap")
    low, high = intervals.bootstrap(statistic, [pictures], *draws)
    return float(low), float(high)


def _of_recalls(
    statistic: Callable[[pd.Series], float], measured: pd.DataFrame, seed: int
) -> tuple[float, tuple[float, float]]:
    """A statistic of the recall of objects by image and servers, with its interval."""
    objects, columns = measured[measured.detector == "objects"], ["image", "servers"]
    right, reference = (
        objects.pivot(index="picture", columns=columns, values=what)
        for what in ("right", "reference")
    )

    def value(pictures: np.ndarray) -> float:
        hits, there = (each.to_numpy()[pictures].sum(0) for each in (right, reference))
        return statistic(pd.Series(hits / there, right.columns)) if there.all() else np.nan

    return float(value(np.arange(len(right)))), _interval(value, len(right), seed)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on a folder of photographs; what is wrong is one sentence."""
    command = Parser(
        prog="python -m paperlib.pedsam.attacks.detection",
        description="What detectors find in what one server has of photographs.",
    )
    command.add_argument("photographs", type=Path, help="folder of them", metavar="PHOTOGRAPHS")
    command.add_argument("--detectors", type=Path, metavar="FOLDER", help="see load_detectors")
    many = {"nargs": "+", "type": int, "default": [1, *SERVERS], "metavar": "K"}
    command.add_argument("--servers", help="numbers of them (default: 1 2 4 8 16)", **many)
    command.add_argument("--assignment", default="random", choices=KINDS)
    command.add_argument("--count", type=int, help="photographs that are drawn (default: all)")
    command.add_argument("--seed", type=int, default=0, help="of every draw (default: 0)")
    command.add_argument("--folder", type=Path, default=Path(), help="to write to (default: here)")
    options = command.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        detectors = load_detectors(options.detectors)
        pictures = photographs(options.count, options.seed, options.photographs)
        how = options.servers, options.assignment, options.seed
        measured = measure(load_sam(SAM), pictures, detectors, *how)
    except (ValueError, OSError) as error:
        command.error(str(error))
    place = options.folder / "detection.csv"
    write_files({place: measured.to_csv(index=False).encode()})
    table = summary(measured, options.seed)
    say(table.round(3).to_string(), place)


if __name__ == "__main__":
    main(sys.argv[1:])
