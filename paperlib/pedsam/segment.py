r"""The mask of one object in a picture, over servers: of two or more, none gets the picture.

    python -m paperlib.pedsam.segment photo.jpg --box 40 30 300 280 \
        --servers 192.0.2.7:7443 192.0.2.8:7443 --certificates certificates/clients/edge

It writes two files beside each other: ``photo.jpg.mask.png`` (white where the object is) and
``photo.jpg.ledger.csv``, to which each run is appended, also where the mask fails: a row for each
window that was sent, with `COLUMNS`. It prints what each server was sent. What a server could make
of that: `paperlib.pedsam.audit`.

What the ledgers in the folder hold of the same picture, whatever its file was called, counts before
anything is sent: all runs together keep the bound. A server is known by its address; with
certificates by its host, for which its certificate is. One server alone gets the whole picture,
unless ``--exposure-limit`` says less.
"""

import argparse
import io
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
from PIL import Image
from segment_anything import SamPredictor

from paperlib.data.picture import read_picture
from paperlib.files import fingerprint, write_files
from paperlib.models.sam import SAMS, load_sam
from paperlib.pedsam.remote.edge import LEAST_SECRET, EdgeCompute, Fallback
from paperlib.pedsam.remote.ledger import ExposureError
from paperlib.pedsam.remote.session import ServerFailedError
from paperlib.pedsam.remote.wire import FORMATS
from paperlib.pedsam.small_sam.segmentation import replace_encoder
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import KINDS, Box
from paperlib.pedsam.split.pixels import seen
from paperlib.pedsam.split.worker import PRECISIONS, WindowBlocks, cast
from paperlib.terminal import Parser, say

# run: from 1; picture: fingerprint of its pixels; top to right: the pixels of the picture that the
# window is made of, bottom and right outside; the others as in `Ledger.table`
COLUMNS = (
    *("run", "picture", "image", "round", "server", "window", "pixels"),
    *("top", "left", "bottom", "right"),
)


def parser(name: str, description: str) -> Parser:
    """Options of what is done with one picture: which, the SAM, assignment and wire format."""
    options = Parser(prog=f"python -m {name}", description=description)
    options.add_argument("image", type=Path, help="PNG, JPEG or WebP", metavar="IMAGE")
    options.add_argument("--sam", default=SAMS[0], choices=SAMS, help=f"default: {SAMS[0]}")
    options.add_argument("--weights", type=Path, metavar="PATH", help="default: see load_sam")
    options.add_argument("--assignment", default="interleaved", choices=KINDS)
    options.add_argument("--secret", type=Path, metavar="FILE", help="for a random assignment")
    options.add_argument("--format", default="float32", choices=FORMATS, help="on the wire")
    options.add_argument("--folder", type=Path, default=Path(), help="to write to (default: here)")
    return options


def read_secret(file: Path | None) -> bytes:
    """The content of the file; none without one.

    Raises:
        ValueError: it is too short.
        OSError: it cannot be read.
    """
    secret = b"" if file is None else file.read_bytes()
    if file is not None and len(secret) < LEAST_SECRET:
        raise ValueError(
            f"{file}: a secret of {len(secret)} bytes: {LEAST_SECRET} random ones or more are valid"
        )
    return secret


def _parser() -> Parser:
    options = parser("paperlib.pedsam.segment", "The mask of an object, over servers.")
    sides = ("LEFT", "TOP", "RIGHT", "BOTTOM")
    options.add_argument("--box", nargs=4, type=float, metavar=sides, help="in pixels")
    point = {"nargs": 2, "type": float, "metavar": ("X", "Y"), "action": "append", "default": []}
    options.add_argument("--point", help="in the object; may stand several times", **point)
    options.add_argument("--not-point", help="not in the object; the same", **point)
    servers = {"nargs": "+", "metavar": "HOST:PORT", "required": True}
    options.add_argument("--servers", help="one alone gets the whole picture", **servers)
    options.add_argument("--spares", nargs="+", default=[], metavar="HOST:PORT")
    fallback = {"choices": Fallback.__args__, "help": "default: spare if there are any, else edge"}
    options.add_argument("--fallback", **fallback)
    options.add_argument("--certificates", type=Path, metavar="DIR", help="of the edge")
    options.add_argument("--checks", default=0, type=_checks, help="windows a round, or strict")
    options.add_argument("--exposure-limit", type=float, metavar="SHARE")
    options.add_argument("--device", default="cpu", help="of the edge's part (default: cpu)")
    options.add_argument("--precision", default="float32", choices=PRECISIONS, help="the same")
    options.add_argument("--deadline", type=float, default=30.0, help="seconds (default: 30)")
    return options


def _checks(word: str) -> int | str:
    if word != "strict" and not word.isdecimal():
        raise argparse.ArgumentTypeError(f"checks {word}: a number or strict is valid")
    return word if word == "strict" else int(word)


def _mask(predictor: SamPredictor, options: argparse.Namespace) -> np.ndarray:
    """What SAM answers to the prompts: the best of three masks to a single point."""
    points = [*options.point, *options.not_point]
    labels = [1] * len(options.point) + [0] * len(options.not_point)
    masks, scores, _ = predictor.predict(
        np.array(points) if points else None,
        np.array(labels) if points else None,
        np.array(options.box) if options.box else None,
        multimask_output=len(points) == 1 and not options.box,
    )
    return masks[scores.argmax()]


def _ledger_place(options: argparse.Namespace) -> Path:
    return options.folder / f"{options.image.name}.ledger.csv"


def _read_ledger(file: Path) -> pd.DataFrame | None:
    """What a file holds; None if it is no ledger of this command.

    Raises:
        ValueError: it is one, and damaged.
    """
    try:
        header = file.read_text().partition("\n")[0]
        if header.strip().split(",") != list(COLUMNS):
            return None
        kinds = dict.fromkeys(COLUMNS, int) | {"picture": str, "server": str, "pixels": bool}
        return pd.read_csv(file, dtype=kinds, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{file}: a ledger that cannot be read: {error}") from None


def _shown_before(options: argparse.Namespace, picture: str) -> dict[str, set[Box]]:
    """What the servers and spares have been sent of a picture, by the ledgers in the folder.

    Raises:
        ValueError: one cannot be read, or the place of this picture's is taken by something else.
    """
    shown: dict[str, set[Box]] = {name: set() for name in (*options.servers, *options.spares)}
    files = {_ledger_place(options), *options.folder.glob("*.ledger.csv")}
    for file in sorted(each for each in files if each.is_file()):
        table = _read_ledger(file)
        if table is None and file == _ledger_place(options):
            raise ValueError(f"{file}: not a ledger of this command, and in its place")
        if table is None:
            continue
        for row in table[table.picture == picture].itertuples():
            for name in shown:
                if _identity(name, options) == _identity(row.server, options):
                    shown[name].add((row.top, row.left, row.bottom, row.right))
    return shown


def _identity(address: str, options: argparse.Namespace) -> str:
    """Who a server is: its address; with certificates its host."""
    return address.rpartition(":")[0].lower() if options.certificates else address


def _append(options: argparse.Namespace, picture: str, edge: EdgeCompute) -> Path:
    """Append what was sent to the picture's ledger; its place."""
    place = _ledger_place(options)
    before = _read_ledger(place) if place.is_file() else pd.DataFrame(columns=list(COLUMNS))
    run = 1 + max(before.run, default=0)
    sent = edge.ledger.placed().assign(run=run, picture=picture)[list(COLUMNS)]
    table = pd.concat([each for each in (before, sent) if len(each)]) if len(sent) else before
    write_files({place: table.to_csv(index=False).encode()})
    return place


def summary(
    edge: EdgeCompute, before: Mapping[str, set[Box]], height: int, width: int
) -> pd.DataFrame:
    """A row for each server: windows and rounds sent, share, failures, and the bytes of them.

    Its column "all runs" is the share of the picture that it has been sent in this run and before.

    Args:
        edge: after the encoding.
        before: boxes that servers were sent in other runs.
        height, width: of the picture.
    """
    calls = edge.table().query("server != 'edge'").groupby("server", sort=False)
    sent = calls.agg(
        bytes_up=("bytes_up", "sum"),
        bytes_down=("bytes_down", "sum"),
        status=("status", lambda each: ", ".join(dict.fromkeys(each))),
    )
    table = edge.ledger.exposure().drop(columns="image").set_index("server")
    placed, shares = edge.ledger.placed(), []
    for server in table.index:
        mine = placed[placed.server == server][["top", "left", "bottom", "right"]]
        boxes = {tuple(box) for box in mine.to_numpy().tolist()} | before[server]
        shares.append(seen(boxes) / (height * width))
    table.insert(3, "all runs", shares)
    return table.join(sent)


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment what the command line says; where that cannot be done, one sentence says why."""
    command = _parser()
    options = command.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    try:
        if not options.box and not options.point:
            raise ValueError("nothing to segment: give --box LEFT TOP RIGHT BOTTOM or --point X Y")
        picture, sam = read_picture(options.image), load_sam(options.sam, options.weights)
        encoder, (height, width) = sam.image_encoder, picture.shape[:2]
        _check_prompts(options, height, width)
        name = fingerprint(picture.shape, picture.tobytes())
        before = _shown_before(options, name)
        with EdgeCompute(
            WindowBlocks(encoder),
            options.servers,
            assignment=options.assignment,
            secret=read_secret(options.secret),
            exposure_limit=options.exposure_limit,
            checks=options.checks,
            form=options.format,
            deadline=options.deadline,
            fallback=options.fallback or ("spare" if options.spares else "edge"),
            spares=options.spares,
            certificates=options.certificates,
        ) as edge:
            split = PartitionedEncoder(encoder, edge)
            cast(split, options.device, options.precision)
            predictor = SamPredictor(replace_encoder(sam, split))
            try:
                with edge.picture(name, height, width, seen=before):
                    predictor.set_image(picture)
            finally:
                ledger = _append(options, name, edge)
        mask = _mask(predictor, options)
        with io.BytesIO() as png:
            Image.fromarray(mask).save(png, "PNG")
            place = options.folder / f"{options.image.name}.mask.png"
            write_files({place: png.getvalue()})
    except (ValueError, OSError, ExposureError, ServerFailedError, grpc.RpcError) as error:
        command.error(str(error))
    table = summary(edge, before, height, width)
    lines = [table.round(3).to_string(), *_exposed(table)] if len(table) else ["nothing was sent"]
    say(*lines, f"{mask.mean():.1%} of the picture:", place, ledger)


def _exposed(table: pd.DataFrame) -> list[str]:
    """In words, whether a server has got the picture."""
    whole = table.index[table["all runs"] >= 1]
    if len(whole):
        return [f"{server} has been sent the whole picture." for server in whole]
    return [f"No server has been sent more than {table['all runs'].max():.1%} of the picture."]


def _check_prompts(options: argparse.Namespace, height: int, width: int) -> None:
    """Whether box and points lie in the picture.

    Raises:
        ValueError: one of them does not.
    """
    for x, y in [*options.point, *options.not_point]:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"point {x:g} {y:g}: not in the picture of {width} × {height}")
    if options.box:
        left, top, right, bottom = options.box
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            words = " ".join(f"{side:g}" for side in options.box)
            raise ValueError(f"box {words}: not left top right bottom in {width} × {height}")


if __name__ == "__main__":
    main(sys.argv[1:])
