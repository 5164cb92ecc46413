"""What attacks gain over the mean colour, over pixels that one server never got.

The mean fill knows the colours of a view and nothing else. What an attack gains over it on the same
view, picture by picture, is what it has found of the windows behind the view. Two controls are
scored in the same way, over the same pixels:

- null: `CONTROL` looks at the view of another picture, and is compared with the mean fill of that
  view; what it gains there it has not found in the picture;
- positive: the network that gets pixels, which keeps detail, is given the whole picture, as plain
  cloud is (k = 1), and its answer is taken as it comes, without the pixels that it was given put in
  place.

Intervals are percentiles (95 %) of the bootstrap over pictures. A picture stands for itself under
every setting, and the best attack is chosen anew in each resample.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from paperlib.intervals import bootstrap
from paperlib.models.frozen import frozen
from paperlib.pedsam.attacks.images import Targets
from paperlib.pedsam.attacks.measures import quality
from paperlib.pedsam.attacks.networks import GRID, load_attack
from paperlib.pedsam.attacks.reconstruction import mean_fill, rebuild
from paperlib.pedsam.attacks.views import draw_views, to_pixels
from paperlib.seeds import derive

BEST, OTHERS, WHOLE = "best attack", "a view of another picture", "the whole picture"
UNSEEN = ("PSNR unseen", "SSIM unseen")
SETTING = ["assignment", "servers", "attack"]
PICTURE = ["draw", "picture"]
CONTROL = "unet"  # of the attacks that get pixels alone the best on the validation of its card
RESAMPLES = 2000


def over_fill(measured: pd.DataFrame) -> pd.DataFrame:
    """What each attack of one server gains over the mean fill, a row a picture and setting.

    Args:
        measured: of `paperlib.pedsam.attacks.privacy.measure`.

    Returns:
        Columns of `SETTING` and `PICTURE`, "PSNR unseen" (dB) and "SSIM unseen".
    """
    alone = measured[measured.colluding == 1].set_index([*PICTURE, *SETTING])[[*UNSEEN]]
    fill = alone.xs("mean_fill", level="attack")
    others = alone.drop(index="mean_fill", level="attack")
    places = others.index.droplevel("attack")
    return (others - fill.loc[places].to_numpy()).reset_index()


def controls(draws: Sequence[Targets], servers: Sequence[int], seed: int) -> pd.DataFrame:
    """The same of the two controls, under random assignments.

    Args:
        draws: of images; at least two in each.
        servers: numbers of them.
        seed: as for `paperlib.pedsam.attacks.privacy.measure`, whose views these are.
    """
    place, parts = draws[0].images.device, []
    blind, sighted = load_attack(CONTROL).to(place), load_attack("inpainting").to(place)
    for draw, targets in enumerate(draws):
        images, others = targets.images, targets.images.roll(1, 0)
        with frozen(sighted), torch.inference_mode():
            everything = torch.ones_like(images[:, 0], dtype=torch.bool)
            whole = sighted(images, everything).clamp(0, 1).clone()
        for number in servers:
            views = draw_views(GRID, "random", number, 1, len(images), derive(seed, "views", draw))
            seen = to_pixels(views, images.shape[-1]).to(images.device)
            row = {"draw": draw, "picture": range(len(images))}
            row |= {"assignment": "random", "servers": number}
            for name, known, guess in (
                (OTHERS, others, rebuild(blind, others, seen)),
                (WHOLE, images, whole),
            ):
                fills = (
                    torch.where(seen[:, None], images, x) for x in (guess, mean_fill(known, seen))
                )
                found, fill = (quality(images, each, seen) for each in fills)
                gain = {what: (found[what] - fill[what]).tolist() for what in UNSEEN}
                parts.append(pd.DataFrame(row | {"attack": name} | gain))
    return pd.concat(parts, ignore_index=True)


def summary(gained: pd.DataFrame, controlled: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean gains over pictures and the ends of their intervals, a row a point.

    Args:
        gained: of `over_fill`.
        controlled: of `controls`.
        seed: of the resampling.

    Returns:
        measure, assignment, servers, fill (`BEST`, `OTHERS` or `WHOLE`), gain, low, high.
    """
    parts = [gained.assign(fill=BEST), controlled.assign(fill=controlled.attack)]
    keys, rows = ["fill", "assignment", "servers"], []
    for names, part in pd.concat(parts).groupby(keys, sort=False):
        for measure in UNSEEN:
            by_setting = _by_setting(part, measure)
            row = {"measure": measure} | dict(zip(keys, names, strict=True))
            low, high = _interval(by_setting, seed)
            rows.append(row | {"gain": by_setting.mean().max(), "low": low, "high": high})
    return pd.DataFrame(rows)


def largest(gained: pd.DataFrame, seed: int) -> tuple[pd.Series, tuple[float, float]]:
    """The PSNR gain (dB) of the setting with the largest mean, by draw; and the interval of it.

    Args:
        gained: of `over_fill`.
        seed: of the resampling.

    Returns:
        Means of the draws, named as the setting (assignment, servers, attack); and the ends of the
        interval of the largest mean, over pictures.
    """
    by_setting = _by_setting(gained, "PSNR unseen")
    worst = by_setting.mean().idxmax()
    return by_setting[worst].groupby("draw").mean(), _interval(by_setting, seed)


def smallest_fall(
    table: pd.DataFrame, seed: int, column: str = "PSNR unseen"
) -> tuple[pd.Series, tuple[float, float]]:
    """What the best attack loses from a number of servers to the next, where it is least.

    Of one server under a random assignment; the best attack of each number of servers is that with
    the largest mean.

    Args:
        table: of `paperlib.pedsam.attacks.privacy.measure` or of `over_fill`, with two numbers of
            servers or more.
        seed: of the resampling.
        column: what falls.

    Returns:
        Means of the draws between the two numbers of servers that the smallest fall lies between,
        named as these are; and the ends of the interval of the smallest fall, over pictures, with
        the best attacks chosen anew in each resample.
    """
    random = table[table.assignment == "random"]
    alone = random[random.colluding == 1] if "colluding" in random else random
    by_setting = _by_setting(alone, column).droplevel("assignment", axis=1)
    mean = by_setting.mean()
    best = mean.groupby("servers").idxmax()  # of each number of servers, its column
    falls = -mean[best].droplevel("attack").diff().dropna()
    after = falls.idxmin()
    before = best.index[best.index.get_loc(after) - 1]
    lost = (by_setting[best[before]] - by_setting[best[after]]).groupby("draw").mean()
    columns = [by_setting[[k]].to_numpy() for k in best.index]

    def smallest(rows: np.ndarray) -> float:
        return -np.diff([each[rows].mean(0).max() for each in columns]).max()

    draws = RESAMPLES, derive(seed, "falls")
    low, high = bootstrap(smallest, [len(by_setting)], *draws)
    return lost.rename((int(before), int(after))), (float(low), float(high))


def _by_setting(gained: pd.DataFrame, measure: str) -> pd.DataFrame:
    """A row a picture, a column a setting."""
    return gained.pivot(index=PICTURE, columns=SETTING, values=measure)


def _interval(by_setting: pd.DataFrame, seed: int) -> tuple[float, float]:
    """Ends of the interval of the largest mean of a column, whole rows resampled."""
    values, draws = by_setting.to_numpy(), (RESAMPLES, derive(seed, "resamples"))
    low, high = bootstrap(lambda rows: values[rows].mean(0).max(), [len(values)], *draws)
    return float(low), float(high)
