"""Robust accuracy by AutoAttack's own code, shortened so that hundreds of networks can be measured.

Of its four attacks three are run, in its order, each on the images that stood until then: APGD on
the cross-entropy, APGD on the targeted difference of logits ratio (nine targets), and Square. FAB
is left out and the numbers of steps are smaller than published (100, 100 and 5,000 queries), so
that the robust accuracy is an upper bound of AutoAttack's. Source: Croce and Hein, arXiv
2003.01690; package ``pyautoattack`` by its authors.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from paperlib.models.frozen import frozen
from paperlib.models.training import predict
from paperlib.seeds import derive


@dataclass(frozen=True)
class Budget:
    """Steps of APGD on the cross-entropy, of APGD on each target, and queries of Square."""

    steps: int = 20
    targeted_steps: int = 10
    queries: int = 200


ATTACKS = ("apgd-ce", "apgd-t", "square")


def standing(
    model: nn.Module,
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    epsilon: float,
    seed: int = 0,
    budget: Budget | None = None,
) -> Bool[Tensor, " n"]:
    """Which images the model gets right unattacked and under every attack within L∞ `epsilon`.

    Args:
        model: takes images in [0, 1], returns logits of at least four classes.
        images: RGB in [0, 1], attacked all at once.
        labels: true classes.
        epsilon: largest change of a pixel value, in units of the [0, 1] image.
        seed: of every draw that the attacks make.
        budget: of the attacks; None takes the usual one.
    """
    from pyautoattack import AutoAttack
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    budget = budget or Budget()
    common = {"eps": epsilon, "norm": "Linf", "seed": derive(seed, "AutoAttack") % 2**32}
    common["device"] = images.device
    with frozen(model):
        ensemble = AutoAttack(model, version="custom", attacks=list(ATTACKS), **common)
        ensemble.verbose = False
        ensemble.apgd = APGDAttack(model, n_iter=budget.steps, **common)
        ensemble.apgd_targeted = APGDAttack_targeted(model, n_iter=budget.targeted_steps, **common)
        ensemble.square.n_queries = budget.queries
        attacked, _ = ensemble.run_standard_evaluation(images, labels, batch_size=len(images))
    return predict(model, attacked) == labels
