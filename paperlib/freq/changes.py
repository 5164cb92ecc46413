"""What attacks and controls change, in tables: how often they fool, how much, and where.

A change is a pair of images (n, 3, height, width) in [0, 1]: before and after.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.freq import rct
from paperlib.freq.attacks import ATTACKS, attack
from paperlib.freq.controls import CONTROLS
from paperlib.models.training import predict

Change = tuple[Float[Tensor, "_ channels height width"], Float[Tensor, "_ channels height width"]]


def first_right(model: nn.Module, data: LabelledImages, most: int) -> tuple[LabelledImages, float]:
    """The first images that a model gets right, at most so many, and its accuracy on all.

    Args:
        model: takes images in [0, 1], returns logits.
        data: images and their true classes.
        most: images that are kept.
    """
    right = predict(model, data.floats()) == data.labels
    return data.subset(right.nonzero().squeeze(1)[:most]), right.float().mean().item()


def attack_all(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    labels: Int64[Tensor, " n"],
    counts: Mapping[str, int],
    epsilon: Mapping[str, float],
    steps: Mapping[str, int],
    seed: int,
    path: list[Tensor] | None = None,
) -> tuple[dict[str, Float[Tensor, "_ channels height width"]], dict[str, Bool[Tensor, " _"]]]:
    """Images after every attack of `ATTACKS`, by its name, and whether it fools the model on each.

    Args:
        model: takes images in [0, 1], returns logits.
        images: in [0, 1].
        labels: their true classes.
        counts: how many images are attacked, from the first on, by access ("white-box",
            "black-box"), or of an attack by its name.
        epsilon, steps: by name; an attack that is not there takes its usual one.
        seed: of the run.
        path: gets how far HopSkipJump was after each step (see `attack`).

    Raises:
        ValueError: an epsilon or a number of steps out of its range.
    """
    after, fools = {}, {}
    for name, kind in ATTACKS.items():
        count = counts.get(name, counts[kind.access])
        x, y = images[:count], labels[:count]
        more = {} if path is None or name != "hopskipjump" else {"path": path}
        after[name] = attack(name, model, x, y, epsilon.get(name), steps.get(name), seed, **more)
        fools[name] = predict(model, after[name]) != y
    return after, fools


def norms(change: Change) -> Float[Tensor, " _"]:
    """L2 norm of the change of each image."""
    return (change[1] - change[0]).flatten(1).norm(dim=1)


def attack_table(
    fooled: Mapping[str, Change], fools: Mapping[str, Bool[Tensor, " _"]]
) -> pd.DataFrame:
    """How often each attack fools the model, and how far it goes where it does.

    Args:
        fooled: of each attack, the images that it fools.
        fools: whether it fools the model, for all the images that it was given.
    """
    rows = {}
    for name, change in fooled.items():
        largest = (change[1] - change[0]).flatten(1).abs().amax(1)
        rows[ATTACKS[name].title] = {
            "access": ATTACKS[name].access,
            "images": len(fools[name]),
            "fooled": fools[name].float().mean().item(),
            "mean L∞": largest.mean().item(),
            "mean L2": norms(change).mean().item(),
        }
    return pd.DataFrame.from_dict(rows, "index")


CONVERGED = 0.05  # most that the last quarter of the steps may take off the median


def path_table(
    path: Float[Tensor, "steps n"], smallest: Float[Tensor, " n"], shown: Sequence[int]
) -> pd.DataFrame:
    """How far HopSkipJump is after some of its steps, beside C&W on the same images.

    Args:
        path: L2 norms of its changes, from before the first step on; NaN where it found nothing.
        smallest: of C&W's changes; NaN where it does not fool.
        shown: numbers of steps.

    Returns:
        One row a number of steps: queries, of one image, that estimate gradients (foolbox's
        100 √k in step k; searches along a line take a few more); median L2; and its median ratio to
        C&W's L2.
    """
    queries = np.concatenate([[0], np.cumsum([int(100 * k**0.5) for k in range(1, len(path))])])
    rows = {
        step: {
            "queries": queries[step],
            "median L2": path[step].nanmedian().item(),
            "times C&W's": (path[step] / smallest).nanmedian().item(),
        }
        for step in shown
    }
    return pd.DataFrame.from_dict(rows, "index").rename_axis("steps")


def late_fall(path: Float[Tensor, "steps n"]) -> float:
    """Share of the median L2 that the last quarter of HopSkipJump's steps takes off.

    Above `CONVERGED` it has not come to rest.
    """
    last = len(path) - 1
    before, after = (path[step].nanmedian().item() for step in (last - (last + 3) // 4, last))
    return 1 - after / before


def excess_words(table: pd.DataFrame) -> str:
    """Difference, interval and number of images of each row of `excess_table`, in one line."""
    text = "{title} {difference:+.1f} [{from:.1f}, {to:.1f}], {images} images".format_map
    return "; ".join(map(text, table.to_dict("records")))


def excess_table(fooled: Mapping[str, Change], resamples: int, seed: int) -> pd.DataFrame:
    """`rct.high_to_low` of each attack beside that of every control on the same images.

    Args:
        fooled: of each attack, the images that it fools.
        resamples, seed: of the bootstrap over images.

    Returns:
        One row an attack, by name; columns title, access, images, attack, the titles of the
        controls, whose changes have the attack's L2 norms, and the difference of attack and white
        noise with the ends of its 95 % interval, from and to.
    """
    rows = {}
    for name, change in fooled.items():
        clean, size = change[0], norms(change)
        controls = {key: control.call(clean, size, seed) for key, control in CONTROLS.items()}
        difference, low, high = rct.excess(*change, controls["white_noise"], resamples, seed)
        rows[name] = {
            "title": ATTACKS[name].title,
            "access": ATTACKS[name].access,
            "images": len(clean),
            "attack": rct.high_to_low(rct.rct_map(*change)),
            **{
                CONTROLS[key].title: rct.high_to_low(rct.rct_map(clean, changed))
                for key, changed in controls.items()
            },
            "difference": difference,
            "from": float(low),
            "to": float(high),
        }
    return pd.DataFrame.from_dict(rows, "index")
