"""Tables of what D4C's notebooks measure: one row a point of a figure, or an average to be shown.

Keys of what is measured are tuples of the names of the encoder (its image tower), the draw (a
number, which decides every random choice) and the method.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import wasserstein_distance
from torch import Tensor, nn

from paperlib.d4c.methods import METHODS, TITLES
from paperlib.d4c.prompts import GENERIC_NAMES
from paperlib.d4c.semantics import embed, prompt_similarities, share_out_of_range
from paperlib.d4c.synthesis import Synthesis, foregrounds
from paperlib.intervals import student

Values = Mapping[tuple[str, int, str], np.ndarray]  # by encoder, draw and method
SHARES = np.linspace(0, 1, 101)  # of a cumulative curve
REFERENCE = "reference"  # the larger sample of real images


def examples_table(pictures: Mapping[tuple[str, str], Float[Tensor, "n 3 h w"]]) -> pd.DataFrame:
    """A row an image of each encoder and method, with the deviation of its values."""
    rows = [
        {"encoder": encoder, "method": method, "image": number, "deviation": x.std().item()}
        for (encoder, method), images in pictures.items()
        for number, x in enumerate(images)
    ]
    return pd.DataFrame(rows)


def cumulative_table(values: Values) -> pd.DataFrame:
    """Cumulative curves of similarities, over all draws, without the reference."""
    pooled: dict[tuple[str, str], list[np.ndarray]] = {}
    for (encoder, _, method), found in values.items():
        if method != REFERENCE:
            pooled.setdefault((encoder, method), []).append(found)
    parts = []
    for (encoder, method), found in pooled.items():
        at = np.quantile(np.concatenate(found), SHARES)
        part = pd.DataFrame({"similarity": at, "share": SHARES})
        parts.append(part.assign(encoder=encoder, method=method))
    return pd.concat(parts, ignore_index=True)


def mean_table(values: Values) -> pd.DataFrame:
    """Means over draws and values, a row an encoder, a column a method (NaN where it has none)."""
    means = {key: found.mean() for key, found in values.items() if key[2] != REFERENCE}
    by_draw = (
        pd.Series(means).rename_axis(["encoder", "draw", "method"]).unstack("draw", sort=False)
    )
    return by_draw.mean(axis=1).unstack("method", sort=False)


def distance_table(distributions: Mapping[str, Values]) -> pd.DataFrame:
    """Wasserstein distance of each method's values from the reference's, by what was measured."""
    rows = [
        [encoder, what, draw, method, wasserstein_distance(found, values[encoder, draw, REFERENCE])]
        for what, values in distributions.items()
        for (encoder, draw, method), found in values.items()
        if method != REFERENCE
    ]
    return pd.DataFrame(rows, columns=["encoder", "what", "draw", "method", "distance"])


def nearer_table(distances: pd.DataFrame) -> pd.DataFrame:
    """How much nearer to real images D4C's are than the nearest of noise and the baseline.

    Args:
        distances: of `distance_table`.

    Returns:
        Columns what, encoder, draw and nearer, in units of the distance.
    """
    keys = ["what", "encoder", "draw"]
    table = distances.pivot(index=keys, columns="method", values="distance")
    others = table.drop(columns=["real", "d4c"]).min(axis=1)
    return (others - table["d4c"]).rename("nearer").reset_index()


def information_table(found: Mapping[tuple[str, int, str], float], images: int) -> pd.DataFrame:
    """Prompts told apart by encoder and method: mean over draws, and what share of the cap it is.

    Args:
        found: `prompt_information` by the encoder that made the images, draw and method.
        images: of each, the cap.
    """
    names = ["encoder", "draw", "method"]
    told = pd.Series(found).rename_axis(names).groupby(["encoder", "method"], sort=False).mean()
    share = np.log(told) / np.log(images)
    return pd.DataFrame({"prompts told apart": told, f"share of log {images}": share})


def plane_table(features: Mapping[str, Mapping[str, Tensor]]) -> pd.DataFrame:
    """Places on the plane of the reference's principal components, and its shares of variance.

    Args:
        features: by encoder and method, the reference among them, which is called real.
    """
    parts = []
    for encoder, by_method in features.items():
        places, variance = embed(by_method, REFERENCE)
        for method, place in places.items():
            part = pd.DataFrame(place, columns=["first", "second"])
            part[["share of first", "share of second"]] = variance
            method = "real" if method == REFERENCE else method
            parts.append(part.assign(encoder=encoder, method=method))
    return pd.concat(parts, ignore_index=True)


def nearest_prompts(
    model: nn.Module, texts: Tensor, images: Mapping[str, Float[Tensor, "3 h w"]]
) -> pd.DataFrame:
    """The three generic names that are most similar to each image, with their similarity."""
    rows = []
    for what, image in images.items():
        best = prompt_similarities(model, texts, image[None].to(texts.device))[0].topk(3)
        found = [f"{GENERIC_NAMES[i]} ({value:.2f})" for value, i in zip(*best, strict=True)]
        rows.append([what, *found])
    return pd.DataFrame(rows, columns=["image", "first", "second", "third"])


def similar_prompts(model: nn.Module, texts: Tensor, made: Synthesis, count: int) -> pd.DataFrame:
    """The names of its prompts that each image is most similar to, from the first one down.

    Args:
        model: the CLIP.
        texts: unit features of the prompts, in the order of `made.names`.
        made: the images.
        count: how many names an image.

    Returns:
        Columns image, prompt (its own name), name and similarity, -1 to 1.
    """
    similarities = prompt_similarities(model, texts, made.images.to(texts.device)).cpu()
    rows = [
        [number, made.names[int(made.targets[number])], made.names[i], value]
        for number, row in enumerate(similarities)
        for value, i in zip(*(best.tolist() for best in row.topk(count)), strict=True)
    ]
    return pd.DataFrame(rows, columns=["image", "prompt", "name", "similarity"])


def snapshot_table(made: Mapping[str, Synthesis], images: int) -> tuple[pd.DataFrame, Tensor]:
    """The first images of each method (rows of the ablation) by iteration, and the images."""
    rows, pictures = [], []
    for method, done in made.items():
        for iterations, x in done.snapshots.items():
            for number in range(images):
                name = done.names[int(done.targets[number])]
                deviation = x[number].std().item()
                rows.append([method, iterations, number, name, x[number].mean().item(), deviation])
                pictures.append(x[number].cpu())
    columns = ["method", "iterations", "image", "prompt", "mean", "deviation"]
    return pd.DataFrame(rows, columns=columns), torch.stack(pictures)


def loss_table(made: Mapping[tuple[str, str], Synthesis], every: int = 1) -> pd.DataFrame:
    """Loss of the first mini-batch by iteration, encoder and method.

    Args:
        made: by encoder and method.
        every: iterations between two of the losses.
    """
    parts = []
    for (encoder, method), done in made.items():
        losses = done.losses[0].numpy()
        part = pd.DataFrame({"iteration": every * np.arange(len(losses)), "loss": losses})
        parts.append(part.assign(encoder=encoder, method=method))
    return pd.concat(parts, ignore_index=True)


def own_prompt_table(
    model: nn.Module, texts: Tensor, made: Mapping[str, Synthesis]
) -> pd.DataFrame:
    """Of whole images and of what their boxes hold: how similar they are to their own prompt, and
    the share for which no other prompt is as similar; `texts` as for `similar_prompts`."""
    rows = {}
    for method, done in made.items():
        for iterations, x in done.snapshots.items():
            views = {"image": x, "box": foregrounds(x, done.boxes.to(x.device))}
            found = {}
            for what, view in views.items():
                similarity = prompt_similarities(model, texts, view).cpu()
                own = similarity.gather(1, done.targets[:, None]).mean().item()
                right = (similarity.argmax(1) == done.targets).double().mean().item()
                found |= {f"{what}: similarity": own, f"{what}: share right": right}
            rows[TITLES[method], iterations] = found
    table = pd.DataFrame(rows).T.rename_axis(["method", "iterations"])
    return table.reindex([(TITLES[m], k) for m, done in made.items() for k in done.snapshots])


def by_method(measured: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Top-1 with a column a method, in the order of `METHODS`; rows in the order measured."""
    order = measured.set_index(list(keys)).index.unique()
    wide = measured.pivot(index=list(keys), columns="method", values="top1").reindex(order)
    return wide[[method for method in METHODS if method in wide]]


def mean_and_spread(wide: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Mean ± standard deviation as text, with methods by their titles; empty where not measured."""
    groups = wide.groupby(list(keys), sort=False)
    mean, deviation = groups.mean(), groups.std()
    spread = deviation.map(" ± {:.1f}".format).where(deviation.notna(), "")
    text = (mean.map("{:.1f}".format) + spread).where(mean.notna(), "")
    return text.rename(columns=TITLES)


def gain_table(
    wide: pd.DataFrame, baselines: Mapping[str, str], best: str | None = None
) -> pd.DataFrame:
    """What D4C gains, in percentage points, by encoder, bit-widths and draw.

    Args:
        wide: as `by_method` gives it.
        baselines: the data-free baseline of each encoder.
        best: the best control, where it was measured (`paperlib.d4c.controls`).
    """
    table = wide.reset_index()
    baseline = [row[baselines[row["encoder"]]] for _, row in table.iterrows()]
    gains = {
        "gain": table.d4c - baseline,
        "above the spectrum": table.d4c - table.spectrum,
        "above the middle": table.d4c - (table.real + table.gaussian) / 2,
        "real minus noise": table.real - table.gaussian,
        "real minus baseline": table.real - baseline,
        "real minus spectrum": table.real - table.spectrum,
    }
    if best:
        gains["above the best control"] = table.d4c - table[best]
        gains["real minus the best control"] = table.real - table[best]
    return table[["encoder", "bits", "draw"]].assign(**gains)


def over_draws(values: Iterable[float]) -> tuple[float, float] | None:
    """Ends of the 95 % interval of the mean, by Student's t; None of a single draw."""
    ends = student(values)
    return None if math.isnan(ends[0]) else ends


def widening(steps: Mapping[Hashable, Tensor], key: Sequence[Hashable], method: str) -> float:
    """Geometric mean of a method's quantizer steps as multiples of those with real images."""
    return (steps[(*key, method)] / steps[(*key, "real")]).log().mean().exp().item()


def range_table(
    images: Mapping[tuple[str, int, str], Float[Tensor, "n 3 size size"]],
    steps: Mapping[Hashable, Tensor],
    decisive: Mapping[str, str],
) -> pd.DataFrame:
    """A row an encoder, method and draw: values out of an image's range, and how wide steps are.

    Args:
        images: that calibrate, normalised, by encoder, draw and method.
        steps: of the activation quantizers, by encoder, bit-widths, draw and method.
        decisive: the bit-widths at which steps are compared, by encoder.
    """
    rows = [
        {
            "encoder": name,
            "method": method,
            "draw": k,
            "values out of range (%)": 100 * share_out_of_range(x),
            "steps, × those of real images": widening(steps, [name, decisive[name], k], method),
        }
        for (name, k, method), x in images.items()
    ]
    return pd.DataFrame(rows)
