r"""What quantizing one layer alone costs, and bits a layer chosen by it under a size: an extension.

With $f_i$ the unit feature of calibration image $i$ in floating point and $\hat f_i^{(l, b)}$ that
with layer $l$ alone quantized, its weights at $b$ bits, its cost is the squared error relative to
the feature's square, which is 1:

$$e_l(b) = \frac{1}{n} \sum_i \lVert \hat f_i^{(l, b)} - f_i \rVert^2.$$

It is taken of the features, not of what the layer gives: what later layers swallow costs nothing,
and all layers are told in one unit. With $n_l$ weights in a layer and $\bar b$ bits a weight in
the mean, bits are sought that

$$\min_b \sum_l e_l(b_l) \quad \text{with} \quad \sum_l n_l b_l \le \bar b \sum_l n_l,$$

as if costs added up: greedily, from the fewest on, always by what saves most of the cost a bit.

Source of the idea: Dong et al., arXiv 1905.03696 (HAWQ), who rank layers by curvature. D4C gives
all layers of the image tower the same bits.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from paperlib.d4c.quantized_clip import QuantizedClip
from paperlib.d4c.quantized_layers import QuantizedLayer
from paperlib.d4c.quantizers import ActivationQuantizer, WeightQuantizer
from paperlib.d4c.ranges import Range, search_range
from paperlib.data import LabelledImages
from paperlib.intervals import student
from paperlib.models.clip import (
    IMAGE_BATCH,
    encode_images,
    image_size,
    preprocess,
    recognised,
)
from paperlib.runtime import progress
from paperlib.seeds import generator

WeightRanges = Mapping[tuple[str, int], Range]  # by layer and bits
PREFIX = "clip.visual."  # of the image tower's layers
SAME, CHOSEN, DEALT = "the same", "by cost", "by another layer's cost"  # how layers get their bits


def image_layers(model: QuantizedClip) -> Iterator[tuple[str, QuantizedLayer]]:
    """The quantized layers of the image tower in their order, by their names in it."""
    return ((n.removeprefix(PREFIX), m) for n, m in model.layers() if n.startswith(PREFIX))


def floating(model: QuantizedClip) -> QuantizedClip:
    """A copy with all in floating point."""
    model = copy.deepcopy(model)
    model.switch(False)
    return model


def unit_features(model: nn.Module, test: LabelledImages) -> Float[Tensor, "n features"]:
    """Of test images, in float32, `IMAGE_BATCH` of them at a time."""
    size = image_size(model)
    parts = test.images.split(IMAGE_BATCH)
    return torch.cat([encode_images(model, preprocess(part, size)) for part in parts])


def weight_ranges(model: QuantizedClip, widths: Sequence[int]) -> dict[tuple[str, int], Range]:
    """The ranges of the weights of each layer of the image tower, at each of the widths (bits)."""
    options = model.settings.range_exponent, model.settings.range_fractions
    return {
        (name, bits): search_range(layer.weight.flatten(1), bits, *options)
        for name, layer in progress(list(image_layers(model)), "Ranges of the weights")
        for bits in widths
    }


def with_bits(model: QuantizedClip, ranges: WeightRanges, bits: Mapping[str, int]) -> QuantizedClip:
    """A copy with the weights of some layers of the image tower at other bits, rounded to nearest.

    Args:
        model: with ranges; left as it is.
        ranges: of its weights, as `weight_ranges` gives them.
        bits: by layer.

    Raises:
        ValueError: there is no range of such a layer at such bits.
    """
    if missing := bits.items() - ranges.keys():
        raise ValueError(f"bits: no ranges of {sorted(missing)}; search them with weight_ranges")
    model = copy.deepcopy(model)
    layers = dict(image_layers(model))
    for name, each in bits.items():
        _set_bits(layers[name], each, ranges[name, each])
    return model


def alone(model: QuantizedClip, ranges: WeightRanges, name: str, bits: int) -> QuantizedClip:
    """A copy with one layer of the image tower quantized, all else in floating point.

    Args:
        model, ranges: as for `with_bits`.
        name: of the layer.
        bits: of its weights.
    """
    model = with_bits(model, ranges, {name: bits})
    model.switch(False)
    _switch(dict(image_layers(model))[name], True)
    return model


def sensitivity(
    model: QuantizedClip, ranges: WeightRanges, images: Float[Tensor, "n 3 size size"]
) -> pd.DataFrame:
    """What each layer of the image tower costs alone, at each of the widths of its weights.

    Its inputs are quantized too, and its outputs where they are in the model, at the bits that the
    model has for them. The quantizer of a softmax belongs to no layer.

    Args:
        model: with ranges, switched on; left as it is.
        ranges: of its weights, at all widths.
        images: for calibration, normalised as the model takes them; the first so many count that
            give the ranges.

    Returns:
        A row each: layer, weights (their number), bits, cost (e above).

    Raises:
        ValueError: the model has no ranges yet, or is switched off.
    """
    model.check_ranges()
    model, images = floating(model), images[: model.settings.range_images]
    exact, rows, layers = encode_images(model, images), [], dict(image_layers(model))
    for (name, bits), found in progress(list(ranges.items()), "Layers alone"):
        layer = layers[name]
        _set_bits(layer, bits, found)
        _switch(layer, True)
        cost = _error(encode_images(model, images), exact)
        rows.append([name, layer.weight.numel(), bits, cost])
        _switch(layer, False)
    return pd.DataFrame(rows, columns=["layer", "weights", "bits", "cost"])


def ends(costs: pd.DataFrame, bits: int, count: int) -> pd.DataFrame:
    """The layers that cost most at these bits and those that cost least, so many of each.

    A row a layer, the most costly first; a column a width.
    """
    wide = costs.pivot_table(index="layer", columns="bits", values="cost", sort=False)
    wide = wide.sort_values(bits, ascending=False)
    return pd.concat([wide.head(count), wide.tail(count)])


def choose_bits(costs: pd.DataFrame, mean: float) -> dict[str, int]:
    """Bits of each layer, in the mean of all weights at most so many.

    Args:
        costs: of `sensitivity`; its widths are those to choose from.
        mean: the bound.

    Raises:
        ValueError: the bound is below the least width.
    """
    widths = sorted(set(costs.bits))
    if mean < widths[0]:
        raise ValueError(f"mean={mean}: numbers from {widths[0]}, the least width, are valid")
    cost = costs.set_index(["layer", "bits"]).cost
    weights = costs.drop_duplicates("layer").set_index("layer").weights
    chosen, left = dict.fromkeys(weights.index, widths[0]), (mean - widths[0]) * weights.sum()
    while True:
        gains = {}  # cost saved a bit, by layer, its new bits and how many more that are in all
        for name, bits in chosen.items():
            for more in (width for width in widths if width > bits):
                price = weights[name] * (more - bits)
                gains[name, more, price] = (cost[name, bits] - cost[name, more]) / price
        gains = {step: gain for step, gain in gains.items() if gain > 0 and step[2] <= left}
        if not gains:
            return chosen
        name, more, price = max(gains, key=gains.__getitem__)
        chosen[name], left = more, left - price


def mean_bits(costs: pd.DataFrame, chosen: Mapping[str, int]) -> float:
    """Bits a weight in the mean of all layers."""
    weights = costs.drop_duplicates("layer").set_index("layer").weights
    return float((weights * pd.Series(chosen)).sum() / weights.sum())


def deal(costs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The costs with each layer given those of another, drawn at random: what names no layer."""
    names = costs.layer.drop_duplicates().tolist()
    order = torch.randperm(len(names), generator=generator(seed, "costs of layers")).tolist()
    other = dict(zip(names, (names[k] for k in order), strict=True))
    cost = costs.set_index(["layer", "bits"]).cost
    pairs = zip(costs.layer.map(other), costs.bits, strict=True)
    return costs.assign(cost=[cost[pair] for pair in pairs])


def mixed_precision(
    model: QuantizedClip,
    ranges: WeightRanges,
    costs: pd.DataFrame,
    budgets: Sequence[int],
    texts: Float[Tensor, "classes features"],
    test: LabelledImages,
    seed: int,
) -> pd.DataFrame:
    """Bits a layer chosen by cost, beside the same for all layers of no smaller size.

    Args:
        model: with ranges and the nearest rounding; left as it is.
        ranges: of its weights, at all widths.
        costs: of `sensitivity`, with these ranges.
        budgets: bits a weight that may not be exceeded in the mean; each is one of the widths.
        texts: of the classes, as of `paperlib.d4c.zero_shot.task_features`.
        test: images that chose nothing.
        seed: of the control, a choice by costs that were dealt anew.

    Returns:
        A row each: budget, bits (how layers got them: `SAME`, `CHOSEN`, `DEALT`), bits a weight,
        weights (MB), added costs (of calibration images, as if they added up), error (of the unit
        features of the test images, as the cost), Top-1 (%), gain (points over the same bits), low
        and high (ends of its 95 % interval over the test images).
    """
    exact, rows = unit_features(floating(model), test), []
    cost, count = costs.set_index(["layer", "bits"]).cost, costs.drop_duplicates("layer").weights
    for budget in budgets:
        same = dict.fromkeys(costs.layer, budget)
        dealt = choose_bits(deal(costs, seed), budget)
        ways = {SAME: same, CHOSEN: choose_bits(costs, budget), DEALT: dealt}
        right = {}
        for way, bits in ways.items():
            features = unit_features(with_bits(model, ranges, bits), test)
            right[way] = 100.0 * recognised(features, texts, test.labels).numpy()
            gain, size = right[way] - right[SAME], mean_bits(costs, bits)
            sizes = size, size * count.sum() / 8e6, sum(cost[pair] for pair in bits.items())
            measured = _error(features, exact), right[way].mean(), gain.mean(), *student(gain)
            rows.append([budget, way, *sizes, *measured])
    columns = ["budget", "bits", "bits a weight", "weights (MB)", "added costs", "error"]
    return pd.DataFrame(rows, columns=[*columns, "Top-1 (%)", "gain", "low", "high"])


def _error(features: Tensor, exact: Tensor) -> float:
    return (features - exact).square().sum(1).mean().item()


def _set_bits(layer: QuantizedLayer, bits: int, found: Range) -> None:
    layer.weight_quantizer.bits = bits
    layer.weight_quantizer.set_range(layer.weight, found.scale, found.zero_point)


def _switch(layer: QuantizedLayer, on: bool) -> None:
    for part in layer.modules():
        if isinstance(part, ActivationQuantizer | WeightQuantizer):
            part.active = on
