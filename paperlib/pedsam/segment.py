r"""The mask of one object in a picture, over servers of which none gets the picture.

    python -m paperlib.pedsam.segment photo.jpg --box 40 30 300 280 \
        --servers 192.0.2.7:7443 192.0.2.8:7443 --certificates certificates/clients/edge

It writes two files beside each other: ``photo.mask.png`` (white where the object is) and
``photo.ledger.csv`` (a row for each window that was sent: image, round, server, window, pixels),
the ledger also where the mask failed. It prints what each server was sent. What a server could
make of that: `paperlib.pedsam.audit`.
"""

import argparse
import io
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
from PIL import Image
from segment_anything import SamPredictor

from paperlib.data.picture import read_picture
from paperlib.files import write_files
from paperlib.models.sam import SAMS, load_sam
from paperlib.pedsam.remote.edge import EdgeCompute, Fallback
from paperlib.pedsam.remote.ledger import ExposureError, Ledger
from paperlib.pedsam.remote.session import ServerFailedError
from paperlib.pedsam.remote.wire import FORMATS
from paperlib.pedsam.small_sam.segmentation import replace_encoder
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import KINDS
from paperlib.pedsam.split.worker import PRECISIONS, WindowBlocks, cast


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Options of what is done with one picture: which, the SAM, assignment and wire format."""
    options = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    options.add_argument("image", type=Path, help="PNG, JPEG or WebP", metavar="IMAGE")
    options.add_argument("--sam", default=SAMS[0], choices=SAMS, help=f"default: {SAMS[0]}")
    options.add_argument("--weights", type=Path, metavar="PATH", help="default: see load_sam")
    options.add_argument("--assignment", default="interleaved", choices=KINDS)
    options.add_argument("--secret", type=Path, metavar="FILE", help="for a random assignment")
    options.add_argument("--format", default="float32", choices=FORMATS, help="on the wire")
    options.add_argument("--folder", type=Path, default=Path(), help="to write to (default: here)")
    return options


def read_secret(file: Path | None) -> bytes:
    """The content of the file; none without one."""
    return b"" if file is None else file.read_bytes()


def _parser() -> argparse.ArgumentParser:
    options = parser("paperlib.pedsam.segment", "The mask of an object, over servers.")
    sides = ("LEFT", "TOP", "RIGHT", "BOTTOM")
    options.add_argument("--box", nargs=4, type=float, metavar=sides, help="in pixels")
    point = {"nargs": 2, "type": float, "metavar": ("X", "Y"), "action": "append", "default": []}
    options.add_argument("--point", help="in the object; may stand several times", **point)
    options.add_argument("--not-point", help="not in the object; the same", **point)
    options.add_argument("--servers", nargs="+", required=True, metavar="HOST:PORT")
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


def _ledger_file(options: argparse.Namespace, ledger: Ledger) -> dict[Path, bytes]:
    """What was sent, as a file."""
    place = options.folder / f"{options.image.stem}.ledger.csv"
    return {place: ledger.table().to_csv(index=False).encode()}


def summary(edge: EdgeCompute) -> pd.DataFrame:
    """A row for each server: windows and rounds sent, share, failures; and of them, the bytes."""
    calls = edge.table().query("server != 'edge'").groupby("server", sort=False)
    sent = calls.agg(
        bytes_up=("bytes_up", "sum"),
        bytes_down=("bytes_down", "sum"),
        status=("status", lambda each: ", ".join(dict.fromkeys(each))),
    )
    return edge.ledger.exposure().drop(columns="image").set_index("server").join(sent)


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
                with edge.picture(options.image.name, height, width):
                    predictor.set_image(picture)
            except BaseException:
                write_files(_ledger_file(options, edge.ledger))
                raise
        mask = _mask(predictor, options)
    except (ValueError, OSError, ExposureError, ServerFailedError, grpc.RpcError) as error:
        command.error(str(error))
    with io.BytesIO() as png:
        Image.fromarray(mask).save(png, "PNG")
        place = options.folder / f"{options.image.stem}.mask.png"
        files = {place: png.getvalue()} | _ledger_file(options, edge.ledger)
    write_files(files)
    print(summary(edge).round(3).to_string() if len(edge.ledger.table()) else "nothing was sent")
    print(f"{mask.mean():.1%} of the picture:", *files, sep="\n")


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
