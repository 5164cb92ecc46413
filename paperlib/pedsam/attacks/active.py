r"""Active attack: what a server learns of other windows by returning tokens of its own choice.

In round one a malicious server is sent the pixels $x_m$ of its windows $m$ and should return their
tokens $t_m$. It returns tokens $z$ instead, the same for every picture, and the edge's global
attention $g$ mixes them with the honest tokens of all other windows. In round two the server is
sent

$$r_m = g(z_m, t_{\bar m})_m,$$

in which, but for $z$, all that changes from picture to picture comes from windows that it never
got. Different tokens ask different questions: each is a query that reads another mixture of the
other windows. Large ones drown what the block's MLP would make of the answer.

What that is worth is the gain of a decoder (`paperlib.pedsam.attacks.ridge`) that guesses the mean
colours of the patches that the server never got, from its pixels and $r_m$, over the same decoder
with its pixels alone. It is fitted to drawn scenes and their mirror images, anew for each view: a
server knows which windows it has. A linear decoder is a lower bound of what an attacker can do. Not
in the paper, where servers are honest but curious.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from segment_anything.modeling import Sam
from torch import Tensor

from paperlib.data.openmoji import draw_scenes
from paperlib.intervals import student
from paperlib.models.frozen import frozen
from paperlib.models.sam import IMAGE, PATCH, WIDTH
from paperlib.pedsam.attacks.images import load_objects
from paperlib.pedsam.attacks.networks import GRID
from paperlib.pedsam.attacks.recognition import segmented
from paperlib.pedsam.attacks.ridge import Ridge
from paperlib.pedsam.attacks.views import draw_views
from paperlib.pedsam.small_sam.scenes import OBJECTS, split_classes
from paperlib.pedsam.split.encoder import LocalCompute
from paperlib.pedsam.split.partition import patches
from paperlib.pedsam.split.schedule import rounds
from paperlib.pedsam.split.worker import WindowBlocks, global_block
from paperlib.seeds import derive, generator

ACTIVE = (2, 4, 8)  # servers, of which one is malicious
SIZE = 20.0  # of a chosen token's features; an honest one's are near 6
PART = 10  # scenes drawn at a time, which bounds the memory
CHECKED = (1, 4, 8)  # windows of all that spot checks compute again
NOISES = (0.1, 0.3, 1.0)  # standard deviation of the noise over that of honest tokens

HONEST, RANDOM = "honest tokens", "random chosen tokens"
OTHERS, EVERYWHERE = "of other pictures", "of all windows"  # the null and the positive control

View = Bool[Tensor, "grid grid"]


@dataclass(frozen=True)
class Scenes:
    """Pictures under attack.

    Attributes:
        colours: mean of each patch, RGB in [0, 1].
        tokens: what honest servers return of them after round one, row by row.
        sent: what they are then sent in round two.
    """

    colours: Float[Tensor, "n 3 grid grid"]
    tokens: Float[Tensor, "n places channels"]
    sent: Float[Tensor, "n places channels"]


@torch.no_grad()
def look_at(sam: Sam, images: UInt8[Tensor, "n 3 size size"]) -> Scenes:
    """Images, RGB, 0 to 255, at the input size of `sam`."""
    encoder, tokens, colours = sam.image_encoder, [], []
    compute, (turn, *_) = LocalCompute(WindowBlocks(encoder)), rounds(encoder, "exact")
    with frozen(sam):
        for some in images.split(compute.batch):
            some = some.to(sam.device).float()
            tokens.append(compute.run(0, turn, patches(sam.preprocess(some), PATCH)))
            colours.append(F.avg_pool2d(some / 255, PATCH))
    honest = torch.cat(tokens)
    return Scenes(torch.cat(colours), honest, received(sam, honest))


def scenes_to_learn_from(sam: Sam, count: int, seed: int) -> Scenes:
    """Drawn scenes for training, each followed by its mirror image; `sam` is the small one."""
    side, seed = GRID.tokens, derive(seed, "scenes of an active server")
    shapes = [(3, side, side), (side**2, WIDTH), (side**2, WIDTH)]
    whole = [torch.empty(2 * count, *shape, device=sam.device) for shape in shapes]
    kinds = {"size": IMAGE, "classes": split_classes(held_out=False), "objects": OBJECTS}
    for start in range(0, count, PART):
        scenes = range(start, min(start + PART, count))
        drawn = draw_scenes("train", scenes, seed=seed, **kinds).images
        part = look_at(sam, torch.stack([drawn, drawn.flip(-1)], 1).flatten(0, 1))
        rows = slice(2 * scenes.start, 2 * scenes.stop)
        for field, found in zip(whole, (part.colours, part.tokens, part.sent), strict=True):
            field[rows] = found
    return Scenes(*whole)


def one_token(scenes: Scenes) -> Float[Tensor, "places channels"]:
    """The mean honest token, at every place."""
    return scenes.tokens.mean((0, 1)).expand(scenes.tokens.shape[1:])


def random_tokens(scenes: Scenes, seed: int) -> Float[Tensor, "places channels"]:
    """A token for every place, its features drawn from a normal distribution of `SIZE`."""
    draw = generator(seed, "chosen tokens")
    return SIZE * torch.randn(scenes.tokens.shape[1:], generator=draw).to(scenes.tokens)


@torch.no_grad()
def received(
    sam: Sam,
    tokens: Float[Tensor, "n places channels"],
    false: View | None = None,
    chosen: Float[Tensor, "places channels"] | None = None,
    to: View | None = None,
    batch: int = 10,
) -> Float[Tensor, "n sent channels"]:
    """What servers are sent in round two.

    Args:
        sam: of any size.
        tokens: what honest servers return after round one.
        false: places where `chosen` is returned instead; none if it is None.
        chosen: a token for every place, of which those at `false` count.
        to: places of which it is said what they are sent; all if None.
        batch: pictures at a time.

    Raises:
        ValueError: one of `false` and `chosen` without the other; other places than there are.
    """
    if (false is None) != (chosen is None):
        raise ValueError("false and chosen: both are needed, or none")
    sizes = [each.numel() for each in (false, to) if each is not None]
    if {*sizes} - {tokens.shape[1]}:
        raise ValueError(f"views of {sizes} places for {tokens.shape[1]} tokens")
    turn, side = rounds(sam.image_encoder, "exact")[0], math.isqrt(tokens.shape[1])
    places = slice(None) if to is None else to.flatten().to(tokens.device)
    sent = []
    with frozen(sam):
        for some in tokens.split(batch):
            if false is not None:
                some = torch.where(false.flatten().to(some.device)[:, None], chosen, some)
            maps = some.unflatten(1, (side, side))
            for block in turn.edge_blocks:
                maps = global_block(sam.image_encoder.blocks[block], maps)
            sent.append(maps.flatten(1, 2)[:, places])
    return torch.cat(sent)


class Attacker:
    """One of some servers, under a random assignment, with a decoder for what it knows.

    Attributes:
        view: the patches that it gets.
        windows: their windows, the largest first.
    """

    def __init__(self, sam: Sam, learnt: Scenes, asked: Scenes, servers: int, seed: int) -> None:
        """One of `servers`, of the small SAM.

        Args:
            learnt: pictures that decoders are fitted to; on the last fifth they make their choices.
            asked: pictures that the server guesses.
            seed: of the view.
        """
        self.sam, self.pictures = sam, (learnt, asked)
        drawn = derive(seed, "view of an active server", servers)
        self.view = draw_views(GRID, "random", servers, 1, 1, drawn)[0]
        sizes = {window: len(GRID.rows([window])) for window in range(GRID.count)}
        mine = self.view.flatten()
        self.windows = [w for w in sizes if mine[GRID.rows([w])].all()]
        self.windows.sort(key=lambda window: -sizes[window])
        self._alone = self._psnr([])

    def sent(self, chosen: Tensor, false: int | None = None) -> list[Tensor]:
        """What it is sent in round two if it returns `chosen` in so many windows, or in all."""
        places = torch.zeros(GRID.tokens**2, dtype=torch.bool)
        places[GRID.rows(self.windows[:false])] = True
        return [
            received(self.sam, scenes.tokens, places.view_as(self.view), chosen, self.view)
            for scenes in self.pictures
        ]

    def honest(self) -> list[Tensor]:
        """What it is sent in round two if it does what it should."""
        return [scenes.sent[:, self._mine] for scenes in self.pictures]

    def gain(self, tokens: Sequence[Tensor]) -> list[float]:
        """PSNR (dB) over the mean colours of unseen patches, minus that from pixels alone.

        Args:
            tokens: what it is sent of the two sets of pictures.

        Returns:
            A gain for each of the pictures that it is asked about.
        """
        return (self._psnr(tokens) - self._alone).tolist()

    @property
    def _mine(self) -> Tensor:
        return self.view.flatten().to(self.pictures[0].tokens.device)

    def _psnr(self, tokens: Sequence[Tensor]) -> Float[Tensor, " n"]:
        seen = self._mine.view_as(self.view)
        (learnt, asked), parts = self.pictures, [[each] for each in tokens] or [[], []]
        wanted, truth = (each.colours[:, :, ~seen].flatten(1) for each in self.pictures)
        held_out = 2 * max(1, len(wanted) // 10)  # scenes with their mirror images
        decoder = Ridge([learnt.colours[:, :, seen], *parts[0]], wanted, held_out)
        guess = decoder([asked.colours[:, :, seen], *parts[1]]).clamp(0, 1)
        return -10 * (guess - truth).square().mean(1).log10()


def gains(attackers: Mapping[int, Attacker], seed: int) -> pd.DataFrame:
    """`Attacker.gain` with tokens of each kind, and its controls.

    Args:
        attackers: by the number of servers.
        seed: of chosen tokens.

    Returns:
        A row for each: servers, knows (which tokens), picture, gain.
    """
    rows = []
    for servers, attacker in attackers.items():

        def add(knows: str, tokens: Sequence[Tensor], attacker=attacker, servers=servers) -> None:
            row = {"servers": servers, "knows": knows}
            gain = enumerate(attacker.gain(tokens))
            rows.extend(row | {"picture": picture, "gain": each} for picture, each in gain)

        learnt, asked = attacker.pictures
        add(HONEST, attacker.honest())
        add("one chosen token", attacker.sent(one_token(learnt)))
        drawn = attacker.sent(random_tokens(learnt, seed))
        add(RANDOM, drawn)
        add(OTHERS, [each.roll(2, 0) for each in drawn])  # a scene and its mirror image
        add(EVERYWHERE, [learnt.sent, asked.sent])
    return pd.DataFrame(rows)


def more_than_honest(gained: pd.DataFrame) -> pd.Series:
    """Gain by random chosen tokens minus that by honest ones, mean over numbers of servers.

    Args:
        gained: of `gains`.

    Returns:
        By picture.
    """
    table = gained.pivot_table("gain", "picture", "knows")
    return table[RANDOM] - table[HONEST]


def caught(false: int, checked: int) -> float:
    """Probability that spot checks notice so many false windows."""
    count = GRID.count
    return 1 - math.comb(count - false, checked) / math.comb(count, checked)


def under_checks(attacker: Attacker, seed: int) -> pd.DataFrame:
    """What random chosen tokens gain a server that lies about some of its windows and is checked.

    Returns:
        A row a picture, number of false windows and number of checked ones, 0 among these: false,
        checked, picture, gain on average; a server that is caught is sent nothing more.
    """
    chosen, rows = random_tokens(attacker.pictures[0], seed), []
    for false in sorted({1, 4, len(attacker.windows)}):
        found = attacker.gain(attacker.sent(chosen, false))
        for checked in (0, *CHECKED):
            row, left = {"false": false, "checked": checked}, 1 - caught(false, checked)
            rows += [row | {"picture": k, "gain": left * gain} for k, gain in enumerate(found)]
    return pd.DataFrame(rows)


def best_lie(table: pd.DataFrame, checked: int) -> pd.Series:
    """Gains by picture with so many false windows as gain most under so many checks."""
    gain = table[table.checked == checked].pivot(index="picture", columns="false", values="gain")
    return gain[gain.mean().idxmax()]


def under_noise(attacker: Attacker, seed: int) -> pd.DataFrame:
    """What random chosen tokens gain a server if the edge adds noise to all that it sends.

    Returns:
        A row a picture, a column for each of `NOISES`.
    """
    sent = attacker.sent(random_tokens(attacker.pictures[0], seed))
    size, draw, table = attacker.pictures[0].sent.std(), generator(seed, "noise"), {}
    for noise in NOISES:
        noisy = [t + noise * size * torch.randn(t.shape, generator=draw).to(t) for t in sent]
        table[noise] = attacker.gain(noisy)
    return pd.DataFrame(table)


def defences(checks: pd.DataFrame, noise: pd.DataFrame, later: int) -> pd.DataFrame:
    """What is left of the gain beside each defence.

    Args:
        checks: of `under_checks`.
        noise: of `under_noise`.
        later: rounds in which the pixels-once schedule sends tokens.

    Returns:
        A row a defence: defence, gain, low, high (ends of the interval).

    Raises:
        ValueError: that schedule sends tokens, so that it has to be measured.
    """
    if later:
        raise ValueError(f"{later} rounds with tokens: their gain is not nothing by construction")
    left = {"none": best_lie(checks, 0)}
    left |= {f"{r} of {GRID.count} windows checked": best_lie(checks, r) for r in CHECKED}
    left |= {f"noise of {100 * size:.0f} %": noise[size] for size in noise}
    left |= {"pixels once": pd.Series(0.0, noise.index)}
    return summary(pd.concat(left, names=["defence"]).rename("gain").reset_index(), ["defence"])


def summary(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean of column `gain` over pictures, with the ends of Student's interval: gain, low, high."""
    rows = []
    for keys, part in table.groupby(by, sort=False):
        ends = dict(zip(("low", "high"), student(part.gain), strict=True))
        rows.append(dict(zip(by, keys, strict=True)) | {"gain": part.gain.mean()} | ends)
    return pd.DataFrame(rows)


def iou_under_noise(sam: Sam, count: int, size: float, seed: int) -> dict[float, float]:
    """Mean IoU of SAM's masks, prompted by boxes, by noise on the tokens of round two; 0 is none.

    Args:
        sam: with two rounds or more.
        count: of drawn scenes.
        size: standard deviation of honest tokens.
        seed: of scenes and noise.
    """
    images, masks = (each.to(sam.device) for each in load_objects(count, derive(seed, "noisy")))
    seen, found = torch.ones_like(masks), {}
    first = sam.image_encoder.blocks[rounds(sam.image_encoder, "exact")[1].server_blocks[0]]
    for noise in (0.0, *NOISES):
        draw = generator(seed, "noise on masks")

        def add(_: torch.nn.Module, inputs: tuple[Tensor], noise=noise, draw=draw) -> Tensor:
            (x,) = inputs
            return x + noise * size * torch.randn(x.shape, generator=draw).to(x)

        hook = first.register_forward_pre_hook(add)
        found[noise] = segmented(sam, images, seen, masks).mean().item()
        hook.remove()
    return found
