r"""What servers would see of a picture, before anything is sent: a page with pictures.

    python -m paperlib.pedsam.audit photo.jpg --servers 2 4 --assignment interleaved

It writes ``photo.jpg.audit.html``, which needs no network. The edge is the real one, with the
ledger that it always keeps; its servers run inside this process, so that nothing leaves it. With
the same options, `paperlib.pedsam.segment` sends what stands there, if it has sent nothing of the
picture before. For each server:

- its view, and its share of the picture's pixels beside its bound, as the ledger counts them, with
  those at the border of a window that resizing mixes into it;
- the reconstruction of `paperlib.pedsam.attacks.privacy.ATTACKS` that comes nearest to the unseen
  pixels. Those from tokens of later rounds know the small SAM alone, as it is committed; for every
  other encoder the attacks from pixels stand for all;
- what detectors that nobody here trained (`paperlib.pedsam.attacks.detectors`) find in both, and in
  the view filled with its mean colour, of what they find in the whole picture, with boxes on the
  page: faces, by the cascade that comes with scikit-image; with ``--detectors FOLDER`` objects of
  80 categories and faces, by NanoDet-m and YuNet.

Bytes are those of the messages, times those of this machine on links of `NETWORKS`
(`paperlib.pedsam.remote.latency`).
"""

import base64
import contextlib
import html
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide

from paperlib.data import external
from paperlib.data.picture import read_picture
from paperlib.files import write_files
from paperlib.models.sam import load_sam
from paperlib.pedsam.attacks.detection import FILLED, REBUILT, VIEW, counts, right
from paperlib.pedsam.attacks.detectors import (
    CATEGORIES,
    ENVIRONMENT,
    Detector,
    Found,
    find_faces,
    load_detectors,
)
from paperlib.pedsam.attacks.nearest import Pictures, look
from paperlib.pedsam.attacks.networks import SAM
from paperlib.pedsam.attacks.privacy import ATTACKS
from paperlib.pedsam.remote.edge import EdgeCompute
from paperlib.pedsam.remote.latency import ALONE, encoder_seconds, measure_rounds
from paperlib.pedsam.remote.listener import serving
from paperlib.pedsam.remote.network import (
    CLOUD,
    NETWORKS,
    modelled,
    plain_cloud,
    plain_cloud_bytes,
)
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.segment import parser, read_secret
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import area, bound
from paperlib.pedsam.split.pixels import windows_in
from paperlib.pedsam.split.worker import WindowBlocks
from paperlib.terminal import say

SHOWN = 512  # pixels of the longer side of a picture on the page
CASCADE = {"faces": find_faces}
RIGHT, WRONG = "#00e5ff", "#ff9100"  # of a box that is in the whole picture too, and of another


@dataclass(frozen=True)
class Audit:
    """What servers would see of one picture.

    Attributes:
        picture: as the encoder gets it, RGB, 0 to 255.
        servers: a row for each server: windows, rounds, share, bound, attack (title of the nearest
            reconstruction), "PSNR unseen" (dB), "SSIM unseen".
        detections: a row for each server, what is looked for and image: reference (how many are
            found in the whole picture), found, right (of these, how many are among the reference),
            recall and precision, NaN where there is nothing to divide by.
        images: what each server has: its view, black elsewhere; with its mean colour there; and
            with the nearest reconstruction.
        reference, found: the detections, by what is looked for; in the picture, and in the images
            of each server.
        kept: share of the picture that no server gets.
        sent: bytes up and down of all servers together.
        times: seconds of the encoder by network and case, with edge, servers and transfer.
    """

    picture: UInt8[np.ndarray, "height width 3"]
    servers: pd.DataFrame
    detections: pd.DataFrame
    images: dict[str, Pictures]
    reference: dict[str, Found]
    found: dict[str, list[dict[str, Found]]]
    kept: float
    sent: tuple[int, int]
    times: pd.DataFrame


@torch.no_grad()
def audit(
    sam: Sam,
    picture: UInt8[np.ndarray, "height width 3"],
    servers: int,
    *,
    assignment: str = "interleaved",
    secret: bytes = b"",
    form: str = "float32",
    committed: bool = False,
    detectors: Mapping[str, Detector] = CASCADE,
) -> Audit:
    """Encode a picture over servers inside this process, and attack what they got.

    Args:
        sam: of any size.
        picture: RGB.
        servers: how many.
        assignment, secret, form: as for `EdgeCompute`.
        committed: `sam` is the small one with the weights that the attacks on tokens know.
        detectors: by what they look for.

    Raises:
        ValueError: no such assignment, or random without a secret.
    """
    encoder, (height, width) = sam.image_encoder, picture.shape[:2]
    side = encoder.img_size
    resized = ResizeLongestSide(side).apply_image(picture)
    x = sam.preprocess(torch.as_tensor(resized).permute(2, 0, 1)[None].float())
    worker = WindowBlocks(encoder)
    with contextlib.ExitStack() as stack:
        services = (WindowService(worker, Limits()) for _ in range(servers))
        addresses = stack.enter_context(serving(services))
        how = {"assignment": assignment, "secret": secret, "form": form, "deadline": 600}
        edge = stack.enter_context(EdgeCompute(worker, addresses, **how))
        with edge.picture("it", height, width):  # the first time of a process takes longer
            measured = measure_rounds(encoder, edge, "exact", torch.cat([x, x])).query("image == 1")
    exposed = edge.ledger.exposure().query("image == 0").set_index("server").reindex(addresses)
    exposed = exposed.assign(server=range(1, servers + 1)).set_index("server").drop(columns="image")
    whole = 0, 0, height, width
    sizes = [area(box) for box in windows_in(worker.grid, worker.patch, whole)]
    exposed["bound"] = bound(sizes, servers, area(whole)) / area(whole)
    sent = edge.ledger.table()
    windows = [sent[sent.server == name].window.unique().tolist() for name in addresses]
    sight = look(sam, x, resized, worker.grid, windows, committed)
    images = {VIEW: sight.views, FILLED: sight.filled, REBUILT: sight.rebuilt}
    reference = {what: detect(resized) for what, detect in detectors.items()}
    found = {
        image: [{what: detect(each) for what, detect in detectors.items()} for each in pictures]
        for image, pictures in images.items()
    }
    seconds = encoder_seconds({ALONE: PartitionedEncoder(encoder)}, x)[ALONE].mean()
    moved, cases = plain_cloud_bytes(encoder, form), {}
    for network in NETWORKS:
        cases[network.name, "servers"] = modelled(measured, network)
        cases[network.name, CLOUD] = plain_cloud(seconds, moved, network)
        cases[network.name, ALONE] = {"edge": seconds, "servers": 0.0, "transfer": 0.0}
    times = pd.DataFrame(cases).T.rename_axis(["network", "case"])
    attacks = sight.attacks.set_axis(exposed.index)
    return Audit(
        resized,
        exposed.fillna({"windows": 0, "rounds": 0, "share": 0}).join(attacks),
        _detections(reference, found),
        images,
        reference,
        found,
        edge.ledger.stayed(0),
        (int(measured.bytes_up.sum()), int(measured.bytes_down.sum())),
        times.assign(seconds=times.sum(axis=1)),
    )


def _detections(
    reference: Mapping[str, Found], found: Mapping[str, Sequence[Mapping[str, Found]]]
) -> pd.DataFrame:
    """The table of `Audit`."""
    rows = {
        (server, what, image): counts(each[what], there)
        for image, servers in found.items()
        for server, each in enumerate(servers, 1)
        for what, there in reference.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table = table.rename_axis(["server", "what", "image"]).sort_index(
        level=[0, 1], sort_remaining=False
    )
    table["recall"] = table.right / table.reference
    return table.assign(precision=table.right / table.found)


CAPTIONS = {
    VIEW: "its view",
    FILLED: "its view, filled with its mean colour",
    REBUILT: "what the nearest reconstruction makes of it",
}
DASH = 8  # pixels from the beginning of a dash to that of the next
STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem .7rem; text-align: right } th { border-bottom: 1px solid }
figure { display: inline-block; margin: .5rem }
img { max-width: 20rem; display: block } figcaption { font-size: 14px }
"""


def page(title: str, audits: dict[str, Audit], detectors: str) -> str:
    """All of it as one HTML page, with its pictures inside.

    Args:
        title: of the page.
        audits: of the same picture, by the words that say how it is split.
        detectors: words that say which.
    """
    first = next(iter(audits.values()))
    counted = ", ".join(f"{what}: {len(there)}" for what, there in first.reference.items())
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        "<p>What each server would see of this picture. Nothing has been sent.</p>",
        _figure(first.picture, "The picture, as the encoder gets it", first.reference),
        f"<p>Detectors ({html.escape(detectors)}) find in it {counted}. A solid box is one of "
        "these; a dashed one, in what a server has, is none of them.</p>",
    ]
    for words, each in audits.items():
        table = each.servers.round({"share": 3, "bound": 3, "PSNR unseen": 1, "SSIM unseen": 2})
        up, down = each.sent
        parts += [
            f"<h2>{html.escape(words)}</h2>",
            *(f"<p>{html.escape(line)}</p>" for line in whole(each.servers)),
            table.reset_index().to_html(index=False, border=0, na_rep="–"),
            "<p>Share and bound: of the picture's pixels, those at a window's border that resizing "
            "mixes into it among them. Attack: which reconstruction of "
            f"({html.escape('; '.join(attack.title for attack in ATTACKS.values()))}) comes "
            "nearest to the pixels that the server does not see, as far as they apply to this "
            "encoder: those with tokens know the small SAM alone, as it is committed. PSNR in dB. "
            f"{each.kept:.1%} of the picture stays on the edge.</p>",
            each.detections.round(2).reset_index().to_html(index=False, border=0, na_rep="–"),
            "<p>Of what detectors find in the whole picture (reference): found is how many they "
            "find in what the server has, right how many of these are the same; recall is right "
            "over reference, precision right over found.</p>",
        ]
        for server in range(len(each.servers)):
            parts.append("<div>")
            for image, caption in CAPTIONS.items():
                picture, found = each.images[image][server], each.found[image][server]
                caption = f"Server {server + 1}: {caption}"
                parts.append(_figure(picture, caption, found, each.reference))
            parts.append("</div>")
        parts += [
            f"<p>{up / 1e6:.2f} MB to all servers, {down / 1e6:.2f} MB back. Modelled seconds of "
            "the encoder, with each side as fast as this machine, one thread:</p>",
            each.times.round(3).reset_index().to_html(index=False, border=0),
        ]
    parts += [
        "<p>A better attack may get nearer than these; servers that collude see the sum of their "
        "views. What is promised against whom stands in docs/servers.md.</p>"
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def whole(servers: pd.DataFrame) -> list[str]:
    """Sentences about the servers that get the whole picture, of a table as in `Audit`."""
    got = servers.index[servers.share >= 1]
    return [f"Server {number} gets the whole picture." for number in got]


def _figure(
    image: np.ndarray,
    words: str,
    found: Mapping[str, Found],
    reference: Mapping[str, Found] | None = None,
) -> str:
    """A picture with its boxes; all of them solid where there is no reference."""
    picture = Image.fromarray(image)
    longest = max(picture.size)
    picture.thumbnail((SHOWN, SHOWN))
    for what, boxes in found.items():
        same = right(boxes, boxes if reference is None else reference[what]).tolist()
        labels = [CATEGORIES[kind] if what == "objects" else "face" for kind in boxes.kinds]
        corners = (boxes.boxes * max(picture.size) / longest).tolist()
        for corner, label, solid in zip(corners, labels, same, strict=True):
            _draw(picture, corner, label, solid)
    with io.BytesIO() as png:
        picture.save(png, "PNG")
        data = base64.b64encode(png.getvalue()).decode()
    source = f"data:image/png;base64,{data}"
    return f'<figure><img alt="{words}" src="{source}"><figcaption>{words}</figcaption></figure>'


def _draw(picture: Image.Image, box: Sequence[float], label: str, solid: bool) -> None:
    """Draw a box (left, top, right, bottom) and what it is; solid, or dashed in another colour."""
    pen, colour = ImageDraw.Draw(picture), RIGHT if solid else WRONG
    left, top, right_, bottom = box
    if solid:
        pen.rectangle(box, outline=colour, width=2)
    else:
        for start in np.arange(left, right_, DASH):
            end = min(start + DASH / 2, right_)
            for height in (top, bottom):
                pen.line([(start, height), (end, height)], fill=colour, width=2)
        for start in np.arange(top, bottom, DASH):
            end = min(start + DASH / 2, bottom)
            for column in (left, right_):
                pen.line([(column, start), (column, end)], fill=colour, width=2)
    place = left + 3, top + 2
    pen.rectangle(pen.textbbox(place, label), fill="black")
    pen.text(place, label, fill=colour)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page that the command line asks for; what is wrong is one sentence."""
    command = parser("paperlib.pedsam.audit", "What servers would see of a picture; sends nothing.")
    many = {"nargs": "+", "type": int, "default": [4], "metavar": "K"}
    command.add_argument("--servers", help="how many (default: 4); several to compare", **many)
    folder = {"type": Path, "metavar": "FOLDER"}
    command.add_argument("--detectors", help=f"default: ${ENVIRONMENT}, else the cascade", **folder)
    options = command.parse_args(arguments)
    torch.set_num_threads(1)  # what is measured counts one
    try:
        picture, sam = read_picture(options.image), load_sam(options.sam, options.weights)
        how = {"assignment": options.assignment, "form": options.format}
        how |= {"secret": read_secret(options.secret)}
        how |= {"committed": options.sam == SAM and options.weights is None}
        used = "scikit-image's cascade"
        if external.given("detectors", options.detectors):
            networks = load_detectors(options.detectors)
            files = [each.file for each in networks.values()]
            used = ", ".join(
                f"{file.name}, SHA-256 {external.sha256(file)[:12]}…" for file in files
            )
            how |= {"detectors": networks}
        audits = {
            f"{k} server{'s' * (k != 1)}, {options.assignment}, {options.format}": audit(
                sam, picture, k, **how
            )
            for k in options.servers
        }
    except (ValueError, OSError) as error:
        command.error(str(error))
    place = options.folder / f"{options.image.name}.audit.html"
    write_files({place: page(f"{options.image.name}, {options.sam}", audits, used).encode()})
    for words, each in audits.items():
        columns = ["share", "bound", "attack", "PSNR unseen"]
        say(words, each.servers[columns].round(3).to_string(), *whole(each.servers))
        say(each.detections.round(3).to_string())
    say(place)


if __name__ == "__main__":
    main(sys.argv[1:])
