"""Robust accuracy: the share of images that a model gets right whatever the attack.

An image counts only if every attack of an ensemble fails on it, as in AutoAttack (Croce and Hein,
arXiv 2003.01690): a single attack can fail for reasons of its own.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Bool
from torch import Tensor, nn

from paperlib.freq.attacks import ATTACKS, attack, specification
from paperlib.models.classifier import as_classifier, check_labels, floats
from paperlib.models.training import predict


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
