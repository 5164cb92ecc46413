"""All reconstruction attacks on the same images and views, so that they can be compared."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from paperlib.models.checkpoints import load_card
from paperlib.pedsam.attacks.images import Targets
from paperlib.pedsam.attacks.measures import quality
from paperlib.pedsam.attacks.networks import GRID, checkpoint_name, load_attack
from paperlib.pedsam.attacks.reconstruction import biharmonic_fill, mean_fill, rebuild
from paperlib.pedsam.attacks.views import draw_views, to_pixels
from paperlib.pedsam.split.partition import KINDS
from paperlib.seeds import derive

_network = cache(load_attack)


def _learned(
    network: str, targets: Targets, seen: Bool[Tensor, "n size size"]
) -> Float[Tensor, "n 3 size size"]:
    model = _network(network).to(targets.images.device)
    tokens = None if model.tokens is None else targets.tokens
    return rebuild(model, targets.images, seen, tokens)


@dataclass(frozen=True)
class Attack:
    """What a coalition makes of what it sees.

    Attributes:
        title: in figures and tables.
        fill: images from targets and the pixels that are seen of each.
        tokens: it uses the tokens of round two that the coalition receives.
        pixels: it uses the seen pixels, which stay as they are.
        photographs: it has learnt from photographs; the other networks have from drawn scenes.
    """

    title: str
    fill: Callable[[Targets, Bool[Tensor, "n size size"]], Float[Tensor, "n 3 size size"]]
    tokens: bool = False
    pixels: bool = True
    photographs: bool = False


ATTACKS = {
    "mean_fill": Attack("mean fill", lambda targets, seen: mean_fill(targets.images, seen)),
    "biharmonic": Attack(
        "biharmonic", lambda targets, seen: biharmonic_fill(targets.images, seen, shrink=2)
    ),
    "inpainting": Attack("learned, pixels", partial(_learned, "inpainting")),
    "inversion": Attack("learned, pixels and tokens", partial(_learned, "inversion"), tokens=True),
    "tokens": Attack(
        "learned, tokens alone", partial(_learned, "tokens"), tokens=True, pixels=False
    ),
    "gaussian": Attack("Gaussian of photographs", partial(_learned, "gaussian"), photographs=True),
    "unet": Attack("U-Net of photographs", partial(_learned, "unet"), photographs=True),
    "transformer": Attack(
        "transformer of photographs", partial(_learned, "transformer"), photographs=True
    ),
    "unet_tokens": Attack(
        "U-Net of photographs, and tokens",
        partial(_learned, "unet_tokens"),
        tokens=True,
        photographs=True,
    ),
}
WITH_TOKENS = [name for name, each in ATTACKS.items() if each.tokens]
Coalition = tuple[str, int, int]  # assignment, servers, and how many of them collude
TOGETHER: list[Coalition] = [
    *(("random", 4, colluding) for colluding in (2, 3)),
    *(("random", 16, colluding) for colluding in (2, 4, 8, 12)),
]
KEYS = ["assignment", "servers", "colluding"]
SHOWN = ("PSNR unseen", "SSIM image")
BY_OTHERS = "tokens of another picture"
OF_PHOTOGRAPHS = {False: "one, learnt from drawn scenes", True: "one, learnt from photographs"}


def coalitions(servers: Sequence[int]) -> list[Coalition]:
    """One server of so many, under every assignment; and `TOGETHER`."""
    return [*((kind, k, 1) for kind in KINDS for k in servers), *TOGETHER]


def attack(
    targets: Targets, views: Bool[Tensor, "n grid grid"], names: Iterable[str] = ATTACKS
) -> dict[str, Float[Tensor, "n 3 size size"]]:
    """What `ATTACKS` of these names make of images from one view of each, on the images' device.

    Raises:
        CheckpointError: a network is missing or damaged, with the command that trains it.
    """
    seen = to_pixels(views, targets.images.shape[-1]).to(targets.images.device)
    return {name: ATTACKS[name].fill(targets, seen) for name in names}


def measure(
    draws: Sequence[Targets],
    coalitions: Sequence[Coalition],
    seed: int,
    names: Iterable[str] = ATTACKS,
) -> pd.DataFrame:
    """How well each attack rebuilds each image from a view of it, by coalition and draw.

    Returns:
        A row for each image and attack: assignment, servers, colluding, draw, picture (number of
        the image in its draw), share seen (mean over the images), attack, and what
        `paperlib.pedsam.attacks.measures.quality` says.
    """
    parts = []
    for assignment, servers, colluding in coalitions:
        for k, targets in enumerate(draws):
            images, drawn = targets.images, derive(seed, "views", k)
            views = draw_views(GRID, assignment, servers, colluding, len(images), drawn)
            seen = to_pixels(views, images.shape[-1]).to(images.device)
            row = {"assignment": assignment, "servers": servers, "colluding": colluding, "draw": k}
            row |= {"picture": range(len(images)), "share seen": views.float().mean().item()}
            for name, guesses in attack(targets, views, names).items():
                values = quality(images, guesses, seen).items()
                found = {what: each.tolist() for what, each in values}
                parts.append(pd.DataFrame(row | {"attack": name} | found))
    return pd.concat(parts, ignore_index=True)


def means(measured: pd.DataFrame) -> pd.DataFrame:
    """Means over images and draws, a row for each coalition and attack."""
    numbers = measured.columns.difference([*KEYS, "draw", "picture", "attack"], sort=False)
    return measured.groupby([*KEYS, "attack"], sort=False)[[*numbers]].mean().reset_index()


def held_out_photographs() -> pd.DataFrame:
    """PSNR (dB) over unseen pixels of photographs that no attack has learnt from, as cards have it.

    Means over photographs and assignments, a row an attack; columns: numbers of servers, all of
    them, and what is said of a single window by a coalition that has all others.
    """
    card, found = load_card(checkpoint_name("gaussian")), "test_psnr_unseen"
    rows = {each.title: card.get(f"{found}_{name}") for name, each in ATTACKS.items()}
    rows[f"{ATTACKS['gaussian'].title}, half of them"] = card[f"{found}_half_the_photographs"]
    for name, each in ATTACKS.items():
        if each.photographs:
            own = load_card(checkpoint_name(name))
            rows[each.title] = own[found]
            rows[f"{each.title} of others"] = own.get(f"{found}_others_tokens")
    return pd.DataFrame.from_dict({title: row for title, row in rows.items() if row}, "index")


def doublings(network: str) -> pd.DataFrame:
    """What each doubling of a training on photographs has gained, as the network's card has it.

    Returns:
        A row a stage: steps and minutes from the start, PSNR (dB) over unseen pixels of the
        photographs of `held_out_photographs`, and what the stage has added to it.
    """
    stages = pd.DataFrame(load_card(checkpoint_name(network))["stages"])
    steps, minutes = stages.steps.cumsum(), stages.seconds.cumsum() / 60
    psnr = stages.psnr_unseen.rename("PSNR unseen")
    return pd.DataFrame({"steps": steps, "minutes": minutes, psnr.name: psnr, "gain": psnr.diff()})


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """PSNR over unseen pixels and SSIM over the image, in one column, a row a point.

    Attacks that do not use the seen pixels have no place in a comparison over the whole image.
    """
    table = table.melt([*KEYS, "attack"], [*SHOWN], "measure")
    blind = [name for name, each in ATTACKS.items() if not each.pixels]
    return table[~(table.attack.isin(blind) & (table.measure == "SSIM image"))]


def best_by_draw(measured: pd.DataFrame) -> pd.DataFrame:
    """SSIM over the image of the best attack of one server: a column a draw."""
    alone = measured[measured.colluding == 1]
    means = alone.groupby(["assignment", "servers", "draw", "attack"])["SSIM image"].mean()
    return means.unstack("attack").max(axis=1).unstack("draw")


def fill_by_draw(measured: pd.DataFrame) -> pd.DataFrame:
    """The same of the mean fill, which rebuilds nothing: what falls of it was sent, not guessed."""
    return best_by_draw(measured[measured.attack == "mean_fill"])


def gains(measured: pd.DataFrame) -> pd.DataFrame:
    """PSNR over unseen pixels (dB) of each attack with tokens minus the best one without.

    Of those that know drawn scenes alone, where the attack with tokens does too: with one that has
    learnt from more beside it, less would seem to leak. A row for each coalition and draw, means
    over its images.
    """
    table = measured.pivot_table("PSNR unseen", [*KEYS, "draw"], "attack", sort=False)
    found = {}
    for name in WITH_TOKENS:
        known = ATTACKS[name].photographs
        plain = [n for n, o in ATTACKS.items() if not o.tokens and o.photographs <= known]
        found[name] = table[name] - table[plain].max(axis=1)
    return pd.DataFrame(found).rename_axis(columns="attack")


def gains_by_others(
    measured: pd.DataFrame, draws: Sequence[Targets], servers: Sequence[int], seed: int
) -> pd.DataFrame:
    """The null control of `gains`: the tokens are those of another picture, the one before.

    Args:
        measured: of `measure`, on the same draws and seed.
        draws: of images, two or more in each.
        servers: numbers of them; one alone looks, under a random assignment.
        seed: as of `measure`.

    Raises:
        ValueError: a draw of one image, which has no other.
    """
    if any(len(targets.images) < 2 for targets in draws):
        raise ValueError("draws: an image alone has no other for the null control, give two")
    others = [Targets(targets.images, targets.tokens.roll(1, 0)) for targets in draws]
    alone = measured[(measured.assignment == "random") & (measured.colluding == 1)]
    fooled = measure(others, [("random", k, 1) for k in servers], seed, WITH_TOKENS)
    return gains(pd.concat([alone[~alone.attack.isin(WITH_TOKENS)], fooled]))


def leak(gain: pd.DataFrame) -> pd.Series:
    """Gain of the best attack with tokens, by draw: mean over numbers of servers.

    Of one server under a random assignment, of `gains` or `gains_by_others`.
    """
    alone = gain.max(axis=1).xs(("random", 1), level=("assignment", "colluding"))
    return alone.groupby("draw").mean()


def gains_shown(gain: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Means of `gains` over the draws in one column, a row a point.

    Of one server under every assignment with its pixels, and with the tokens of other pictures, a
    panel for what attacks have learnt from; and of 16 servers that collude.
    """
    table, control = (
        each.groupby(KEYS, sort=False).mean().reset_index().melt(KEYS, None, "attack", "gain")
        for each in (gain, others)
    )
    control = control.assign(assignment=BY_OTHERS)
    alone = pd.concat([table[table.colluding == 1], control])
    alone["panel"] = alone.attack.map(lambda name: OF_PHOTOGRAPHS[ATTACKS[name].photographs])
    sighted = alone.attack.map(lambda name: ATTACKS[name].pixels)
    joint = table[(table.assignment == "random") & (table.servers == 16)]
    joint = joint.assign(panel="of 16 servers").sort_values("colluding")
    return pd.concat([alone[sighted], joint])


def examples(
    targets: Targets, servers: Sequence[int], seed: int
) -> tuple[pd.DataFrame, dict[str, Float[Tensor, "servers 3 size size"]]]:
    """One server's view of an image for each number of servers, and what the attacks make of it.

    Args:
        targets: another image for each number, from the first on, and again where there are fewer.
        servers: numbers of them.
        seed: of the views.

    Returns:
        A row for each number of servers and attack with its PSNR over unseen pixels; and the
        pictures: view, one for each attack, image.
    """
    chosen = [number % len(targets.images) for number in range(len(servers))]
    few = Targets(targets.images[chosen], targets.tokens[chosen])
    views = torch.cat(
        [draw_views(GRID, "random", k, 1, 1, derive(seed, "shown", k)) for k in servers]
    )
    seen = to_pixels(views, few.images.shape[-1]).to(few.images.device)
    guesses = attack(few, views)
    rows = []
    for name, pictures in guesses.items():
        values = quality(few.images, pictures, seen)["PSNR unseen"].tolist()
        rows += [
            {"servers": k, "attack": name, "PSNR unseen": value}
            for k, value in zip(servers, values, strict=True)
        ]
    pictures = {"view": few.images * seen[:, None]} | guesses | {"image": few.images}
    return pd.DataFrame(rows), {name: images.cpu() for name, images in pictures.items()}
