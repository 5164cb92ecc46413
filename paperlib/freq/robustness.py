"""Robust accuracy: the share of images that a model gets right whatever the attack.

An image counts only if every attack of an ensemble fails on it, as in AutoAttack (Croce and Hein,
arXiv 2003.01690): a single attack can fail for reasons of its own.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from jaxtyping import Bool
from torch import Tensor, nn

from paperlib.data import LabelledImages
from paperlib.freq.attacks import ATTACKS, attack, specification
from paperlib.freq.occlusion import low_share, occluded_frequency
from paperlib.freq.variants import EPSILON, LOW_CUTOFF
from paperlib.models.classifier import as_classifier, check_labels, floats
from paperlib.models.training import accuracy, predict
from paperlib.seeds import derive


def robust_images(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    names: Sequence[str] = ("fgsm", "pgd_linf", "square"),
    epsilon: float | None = None,
    steps: Mapping[str, int] | None = None,
    seed: int = 0,
) -> Bool[Tensor, " n"]:
    """Which images the model gets right unattacked and under every attack (the worst case).

    Each attack sees only the images that stood until then, so put the cheap ones first.

    Args:
        names: attacks of one norm; a walk has no bound, so SimBA is not among the valid names.
        epsilon: bound for all of them; None takes each one's default.
        steps: budget by name of the attack, ``{"square": 1000}``; the default for others.
        model, images, labels, seed: as for `attack`.

    Raises:
        ValueError: attacks of several norms, without a bound, or as for `attack`.
    """
    steps = steps or {}
    for name in [*names, *steps]:
        specification(name)
    norms = sorted({ATTACKS[name].norm for name in names})
    if len(norms) != 1:
        raise ValueError(f"names={tuple(names)}: attacks of one norm are needed, not of {norms}")
    for name in names:
        unbounded = epsilon is None and ATTACKS[name].epsilon is None
        if ATTACKS[name].aim == "walk" or unbounded:
            raise ValueError(f"{name} has no bound: robustness needs one, as PGD with an epsilon")
    model, images = as_classifier(model), floats(images)
    check_labels(labels, len(images), model.classes(images))
    robust = predict(model, images) == labels
    for name in names:
        standing = robust.nonzero().squeeze(1)
        if len(standing):
            x, y = images[standing], labels[standing]
            adversarial = attack(name, model, x, y, epsilon, steps.get(name), seed)
            robust[standing] = predict(model, adversarial) == y
    return robust


def robust_accuracy(model: nn.Module, images: Tensor, labels: Tensor, **options) -> float:
    """Share of `robust_images`, 0 to 1; takes the same options."""
    return robust_images(model, images, labels, **options).float().mean().item()


def robustness_table(
    models: Mapping[tuple[str, str], nn.Module],
    draws: Sequence[LabelledImages],
    occluded_images: int,
    steps: Mapping[str, int],
    seed: int,
) -> pd.DataFrame:
    """Accuracy, robust accuracy at two bounds, and low-frequency share of Occluded Frequency.

    Args:
        models: by architecture and variant.
        draws: images that every model is measured on.
        occluded_images: how many of each draw, from its start, have their components occluded.
        steps, seed: as for `robust_images`.

    Returns:
        One row a model and draw; columns architecture, variant, seed (the number of the draw), and
        clean, robust 2/255, robust 8/255 and low share, all 0 to 1.
    """
    rows = []
    for (architecture, variant), model in models.items():
        place = next(model.parameters()).device
        for k, data in enumerate(draws):
            x, y = data.floats().to(place), data.labels.to(place)
            options = {"steps": steps, "seed": derive(seed, "attacks", k)}
            few = slice(occluded_images)
            rows.append(
                {
                    "architecture": architecture,
                    "variant": variant,
                    "seed": k,
                    "clean": accuracy(model, x, y),
                    "robust 2/255": robust_accuracy(model, x, y, epsilon=EPSILON / 4, **options),
                    "robust 8/255": robust_accuracy(model, x, y, epsilon=EPSILON, **options),
                    "low share": low_share(occluded_frequency(model, x[few], y[few]), LOW_CUTOFF)
                    .mean()
                    .item(),
                }
            )
    return pd.DataFrame(rows)
