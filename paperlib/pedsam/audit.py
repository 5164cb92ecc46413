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
- how many of the faces that a detector finds in the whole picture it finds there too: the cascade
  of local binary patterns that comes with scikit-image, trained by nobody here.

Bytes are those of the messages, times those of this machine on links of `NETWORKS`
(`paperlib.pedsam.remote.latency`).
"""

import base64
import contextlib
import html
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade
from torch import Tensor
from torchvision.ops import box_iou

from paperlib.data.picture import read_picture
from paperlib.files import write_files
from paperlib.models.sam import IMAGE, PATCH, WIDTH, load_sam
from paperlib.pedsam.attacks.images import Targets
from paperlib.pedsam.attacks.measures import quality
from paperlib.pedsam.attacks.networks import SAM, SIZE
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
from paperlib.pedsam.remote.picture import windows_in
from paperlib.pedsam.remote.service import Limits, WindowService
from paperlib.pedsam.segment import parser, read_secret, say
from paperlib.pedsam.split.encoder import PartitionedEncoder
from paperlib.pedsam.split.partition import WindowGrid, area, bound
from paperlib.pedsam.split.worker import WindowBlocks

SHOWN = 512  # pixels of the longer side of a picture on the page
SMALLEST_FACE = 24  # pixels, of the cascade
OVERLAP = 0.5  # of two boxes, intersection over union, that are one face
Face = tuple[int, int, int, int]  # top, left, height, width


@dataclass(frozen=True)
class Audit:
    """What servers would see of one picture.

    Attributes:
        picture: as the encoder gets it, RGB, 0 to 255.
        faces: in it.
        servers: a row for each: server, windows, rounds, share, bound, attack (title of the nearest
            reconstruction), "PSNR unseen" (dB), "SSIM unseen", and of the faces in the picture
            "faces in the view" and "faces rebuilt".
        views, rebuilt: what each sees, black elsewhere, and the nearest reconstruction.
        kept: share of the picture that no server gets.
        sent: bytes up and down of all servers together.
        times: seconds of the encoder by network and case, with edge, servers and transfer.
    """

    picture: UInt8[np.ndarray, "height width 3"]
    faces: list[Face]
    servers: pd.DataFrame
    views: list[UInt8[np.ndarray, "height width 3"]]
    rebuilt: list[UInt8[np.ndarray, "height width 3"]]
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
) -> Audit:
    """Encode a picture over servers inside this process, and attack what they got.

    Args:
        sam: of any size.
        picture: RGB.
        servers: how many.
        assignment, secret, form: as for `EdgeCompute`.
        committed: `sam` is the small one with the weights that the attacks on tokens know.

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
    views, rebuilt, attacks = _attack(sam, x, resized, worker.grid, windows, committed)
    faces = find_faces(resized)
    for name, images in {"faces in the view": views, "faces rebuilt": rebuilt}.items():
        attacks[name] = [again(faces, find_faces(image)) for image in images]
    seconds = encoder_seconds({ALONE: PartitionedEncoder(encoder)}, x)[ALONE].mean()
    moved, cases = plain_cloud_bytes(encoder, form), {}
    for network in NETWORKS:
        cases[network.name, "servers"] = modelled(measured, network)
        cases[network.name, CLOUD] = plain_cloud(seconds, moved, network)
        cases[network.name, ALONE] = {"edge": seconds, "servers": 0.0, "transfer": 0.0}
    times = pd.DataFrame(cases).T.rename_axis(["network", "case"])
    return Audit(
        resized,
        faces,
        exposed.fillna({"windows": 0, "rounds": 0, "share": 0}).join(attacks),
        views,
        rebuilt,
        edge.ledger.stayed(0),
        (int(measured.bytes_up.sum()), int(measured.bytes_down.sum())),
        times.assign(seconds=times.sum(axis=1)),
    )


def _attack(
    sam: Sam,
    x: Float[Tensor, "1 3 size size"],
    resized: UInt8[np.ndarray, "height width 3"],
    grid: WindowGrid,
    windows: Sequence[Sequence[int]],
    committed: bool,
) -> tuple[list[np.ndarray], list[np.ndarray], pd.DataFrame]:
    """Of each server its view, the nearest reconstruction, and how near that is.

    Args:
        sam: whose encoder it is.
        x: the picture as the encoder gets it, filled up to the square.
        resized: its content.
        grid: of the encoder.
        windows: that each server was sent.
        committed: as for `audit`.
    """
    (height, width), k, side = resized.shape[:2], len(windows), x.shape[-1]
    tokens = torch.zeros(k, grid.tokens**2, dtype=torch.bool)  # that each server was sent
    for server, each in enumerate(windows):
        tokens[server, grid.rows(each)] = True
    tokens = tokens.unflatten(1, (grid.tokens, grid.tokens))
    patch = side // grid.tokens
    sight = tokens.repeat_interleave(patch, 1).repeat_interleave(patch, 2)
    seen = sight.clone()
    seen[:, height:], seen[:, :, width:] = True, True  # that nothing is there, everybody knows
    whole = (x * sam.pixel_std + sam.pixel_mean) / 255
    images = F.interpolate(whole, size=SIZE, mode="area").clamp(0, 1).expand(k, -1, -1, -1)
    known = F.interpolate(seen[:, None].float(), size=SIZE, mode="area")[:, 0] >= 1
    received = torch.zeros(k, WIDTH, IMAGE // PATCH, IMAGE // PATCH)
    if committed:
        received = PartitionedEncoder(sam.image_encoder).received(x, 1) * tokens[:, None]
    targets, found = Targets(images, received), {}
    for name, attack in ATTACKS.items():
        if committed or not attack.tokens:
            guesses = attack.fill(targets, known)
            found[name] = guesses, quality(images, guesses, known)
    near = torch.stack([measures["PSNR unseen"] for _, measures in found.values()])
    views, rebuilt, rows = [], [], []
    for server, best in enumerate(near.nan_to_num(nan=float("inf")).argmax(0).tolist()):
        name = [*found][best]
        guesses, measures = found[name]
        guess = F.interpolate(guesses[[server]], size=side, mode="bilinear", align_corners=False)
        guess = (255 * guess[0].permute(1, 2, 0)).round().byte().numpy()[:height, :width]
        mine = sight[server, :height, :width, None].numpy()
        views.append(np.where(mine, resized, 0).astype(np.uint8))
        rebuilt.append(np.where(mine, resized, guess).astype(np.uint8))
        row = {"server": server + 1}
        row["attack"] = "nothing is unseen" if near[best, server].isnan() else ATTACKS[name].title
        rows.append(row | {m: measures[m][server].item() for m in ("PSNR unseen", "SSIM unseen")})
    return views, rebuilt, pd.DataFrame(rows).set_index("server")


def find_faces(image: UInt8[np.ndarray, "height width 3"]) -> list[Face]:
    """Faces seen from the front, by scikit-image's cascade."""
    if min(image.shape[:2]) < SMALLEST_FACE:
        return []
    found = Cascade(lbp_frontal_face_cascade_filename()).detect_multi_scale(
        img=image,
        scale_factor=1.2,
        step_ratio=1,
        min_size=(SMALLEST_FACE, SMALLEST_FACE),
        max_size=image.shape[:2],
    )
    return [(each["r"], each["c"], each["height"], each["width"]) for each in found]


def again(faces: Sequence[Face], found: Sequence[Face]) -> int:
    """How many of `faces` are among those that were found elsewhere."""
    if not faces or not found:
        return 0
    boxes = torch.tensor(faces), torch.tensor(found)
    overlaps = box_iou(*boxes, fmt="xywh")  # down before right in both: the same
    return int((overlaps >= OVERLAP).any(1).sum())


STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem .7rem; text-align: right } th { border-bottom: 1px solid }
figure { display: inline-block; margin: .5rem }
img { max-width: 30rem; display: block } figcaption { font-size: 14px }
"""


def page(title: str, audits: dict[str, Audit]) -> str:
    """All of it as one HTML page, with its pictures inside.

    Args:
        title: of the page.
        audits: of the same picture, by the words that say how it is split.
    """
    first = next(iter(audits.values()))
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        "<p>What each server would see of this picture. Nothing has been sent.</p>",
        _figure(first.picture, "The picture, as the encoder gets it"),
        f"<p>Faces that scikit-image's cascade finds in it: {len(first.faces)}.</p>",
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
            f"Faces: of those above. {each.kept:.1%} of the picture stays on the edge."
            "</p>",
        ]
        for number, (view, rebuilt) in enumerate(zip(each.views, each.rebuilt, strict=True), 1):
            parts += [
                "<div>",
                _figure(view, f"Server {number}: its view"),
                _figure(rebuilt, f"Server {number}: what the nearest reconstruction makes of it"),
                "</div>",
            ]
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


def _figure(image: np.ndarray, words: str) -> str:
    picture = Image.fromarray(image)
    picture.thumbnail((SHOWN, SHOWN))
    with io.BytesIO() as png:
        picture.save(png, "PNG")
        data = base64.b64encode(png.getvalue()).decode()
    source = f"data:image/png;base64,{data}"
    return f'<figure><img alt="{words}" src="{source}"><figcaption>{words}</figcaption></figure>'


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page that the command line asks for; what is wrong is one sentence."""
    command = parser("paperlib.pedsam.audit", "What servers would see of a picture; sends nothing.")
    many = {"nargs": "+", "type": int, "default": [4], "metavar": "K"}
    command.add_argument("--servers", help="how many (default: 4); several to compare", **many)
    options = command.parse_args(arguments)
    torch.set_num_threads(1)  # what is measured counts one
    try:
        picture, sam = read_picture(options.image), load_sam(options.sam, options.weights)
        how = {"assignment": options.assignment, "form": options.format}
        how |= {"secret": read_secret(options.secret)}
        how |= {"committed": options.sam == SAM and options.weights is None}
        audits = {
            f"{k} server{'s' * (k != 1)}, {options.assignment}, {options.format}": audit(
                sam, picture, k, **how
            )
            for k in options.servers
        }
    except (ValueError, OSError) as error:
        command.error(str(error))
    place = options.folder / f"{options.image.name}.audit.html"
    write_files({place: page(f"{options.image.name}, {options.sam}", audits).encode()})
    for words, each in audits.items():
        columns = ["share", "bound", "attack", "PSNR unseen", "faces in the view", "faces rebuilt"]
        say(words, each.servers[columns].round(3).to_string(), *whole(each.servers))
    say(place)


if __name__ == "__main__":
    main(sys.argv[1:])
