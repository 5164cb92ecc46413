r"""Adversarial attacks, one small adapter over three libraries.

An attack looks for an image $x'$ near $x$ that the model gets wrong: either it maximises the loss
within $\lVert x' - x \rVert_p \le \varepsilon$ (FGSM, PGD, Square), or it makes
$\lVert x' - x \rVert_2$ as small as it can (C&W, HopSkipJump), or it walks along single pixels or
cosines for as long as the score of the true class falls (SimBA). No attack is written here: they
are foolbox's (Rauber et al., arXiv 1707.04131), AutoAttack's Square (Croce and Hein, arXiv
2003.01690) and the SimBA of the Adversarial Robustness Toolbox (Nicolae et al., arXiv 1807.01069).
Another one is one row of `ATTACKS`.

Deviations from the libraries, each where it is made: foolbox's HopSkipJump divides the gradient of
an image by the norm of the whole batch, ours by that image's own; images on which C&W or
HopSkipJump find nothing come back unchanged (foolbox: black images, and an error); SimBA tries
cosines in random order (the toolbox: the lowest first), so that the order favours no frequency.
"""

import contextlib
import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import eagerpy
import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import idctn
from torch import Tensor, nn

from paperlib.models.classifier import Images, as_classifier, at_once, check_labels, floats
from paperlib.models.frozen import frozen
from paperlib.runtime import progress
from paperlib.seeds import derive

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # or importing foolbox fails without git
import foolbox

Call = Callable[[nn.Module, Tensor, Tensor, float | None, int], Tensor]
"""From model, images, labels, epsilon and steps to adversarial images."""


@dataclass(frozen=True)
class Attack:
    """How an attack is named, what it is allowed, what it costs, and what runs it.

    Attributes:
        title: name for tables and figures.
        access: "white-box" uses gradients, "black-box" outputs only.
        norm: in which the perturbation is bounded or minimised, over all pixels and channels.
        aim: "bounded" by epsilon; "smallest" perturbation, shortened to epsilon if there is one; or
            a "walk" of steps of length epsilon, whose L2 norm is at most epsilon √steps.
        epsilon: default, in units of the [0, 1] image; None: no bound.
        steps: default budget: gradient steps (C&W: in each of `CW_SEARCHES` rounds), steps of
            HopSkipJump, queries of Square, or iterations of SimBA (up to two queries each).
        batch_size: default number of images attacked together.
        call: runs it; the model is in eval mode and without parameter gradients.
    """

    title: str
    access: Literal["white-box", "black-box"]
    norm: Literal["linf", "l2"]
    aim: Literal["bounded", "smallest", "walk"]
    epsilon: float | None
    steps: int
    batch_size: int
    call: Call


def attack(
    name: str,
    model: nn.Module,
    images: Images,
    labels: Tensor,
    epsilon: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    path: list | None = None,
) -> Float[Tensor, "n channels height width"]:
    """Adversarial images, the same for the same seed and batch size.

    Random generators and the model's mode are as before when it returns, and it works where
    gradients are switched off (`torch.no_grad`) too. Images on which the
    attack fails come back as the library leaves them: at the edge of the ball, or unchanged.

    Args:
        name: a key of `ATTACKS`.
        model: takes images in [0, 1], returns logits (n, classes).
        images: floats in [0, 1] or uint8, (n, channels, height, width).
        labels: true classes, int64 (n,).
        epsilon: see `Attack`; None takes the default. A smallest perturbation that is shortened to
            it mostly fails.
        steps: see `Attack`; None takes the default.
        seed: of the run; every attack derives its own.
        batch_size: images attacked together; None takes the default.
        path: of HopSkipJump alone: each batch adds the L2 norms of its changes (steps + 1, n), from
            before the first step on; NaN for an image on which it finds nothing.

    Returns:
        Images in [0, 1], float32, on the device of `images`.

    Raises:
        ValueError: unknown name, a number out of range, or images, labels or logits that
            `paperlib.models.classifier` does not take.
    """
    chosen = specification(name)
    _check_numbers(epsilon, steps, batch_size)
    images = floats(images).float()
    model = as_classifier(model)
    check_labels(labels, len(images), model.classes(images))
    epsilon = chosen.epsilon if epsilon is None else epsilon
    steps = steps or chosen.steps
    call = chosen.call if path is None else partial(chosen.call, path=path)
    together = batch_size or at_once(images, chosen.batch_size)
    batches = list(zip(images.split(together), labels.split(together), strict=True))
    with _seeded(derive(seed, name)), frozen(model), _with_gradients(), _quiet():
        return torch.cat(
            [
                call(model, x.clone(), y.clone(), epsilon, steps).detach()
                for x, y in progress(batches, chosen.title)
            ]
        )


def specification(name: str) -> Attack:
    """The row of `ATTACKS`.

    Raises:
        ValueError: there is none, with the names that are valid.
    """
    if name not in ATTACKS:
        raise ValueError(f"attack {name!r} is unknown: valid are {', '.join(ATTACKS)}")
    return ATTACKS[name]


def _by_foolbox(algorithm: Callable[[int], foolbox.attacks.base.Attack]) -> Call:
    """The call of an attack of foolbox, made by `algorithm` from the number of steps."""

    def call(model: nn.Module, x: Tensor, y: Tensor, epsilon: float | None, steps: int) -> Tensor:
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
        _, adversarial, _ = algorithm(steps)(wrapped, x, y, epsilons=epsilon)
        failed = adversarial.flatten(1).amax(1) == 0  # C&W marks failure by a black image
        return torch.where(failed[:, None, None, None], x, adversarial).clamp(0, 1)

    return call


CW_SEARCHES = 5  # rounds of the search for C&W's trade-off constant


def _carlini_wagner(steps: int) -> foolbox.attacks.base.Attack:
    return foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=CW_SEARCHES, steps=steps, stepsize=0.01, initial_const=0.1
    )


class _RecordedL2(foolbox.distances.LpDistance):
    """The L2 distance; `found` has what it was, (n,) at each call."""

    def __init__(self) -> None:
        super().__init__(2)
        self.found: list[Tensor] = []

    def __call__(self, references, perturbed):  # foolbox's types
        distances = super().__call__(references, perturbed)
        self.found.append(distances if isinstance(distances, Tensor) else distances.raw)
        return distances


class _HopSkipJump(foolbox.attacks.HopSkipJumpAttack):
    """foolbox's, with the gradient of each image normalised by itself, not by the batch.

    Its distance keeps the L2 norms before the first step and after each, which foolbox drops.
    """

    def __init__(self, steps: int) -> None:
        super().__init__(steps=steps)
        self.distance = _RecordedL2()

    def approximate_gradients(self, *arguments, **options):
        gradients = super().approximate_gradients(*arguments, **options).raw
        norms = gradients.flatten(1).norm(dim=1)[:, None, None, None]
        return eagerpy.astensor(gradients / (norms + 1e-12))


def _hop_skip_jump(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilon: float | None,
    steps: int,
    path: list | None = None,
) -> Tensor:
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
    start = foolbox.attacks.LinearSearchBlendedUniformNoiseAttack(directions=100, steps=50)
    starts = start.run(wrapped, x, y)
    found = wrapped(starts).argmax(-1) != y
    adversarial = x.clone()
    if found.any():
        algorithm = _HopSkipJump(steps=steps)
        _, adversarial[found], _ = algorithm(
            wrapped, x[found], y[found], starting_points=starts[found], epsilons=epsilon
        )
        if path is not None:
            norms = x.new_full((steps + 1, len(x)), torch.nan)
            norms[:, found] = torch.stack(algorithm.distance.found[: steps + 1])
            path.append(norms)
    return adversarial.clamp(0, 1)


def _square(model: nn.Module, x: Tensor, y: Tensor, epsilon: float, steps: int) -> Tensor:
    from pyautoattack.square import SquareAttack

    height, width = x.shape[-2:]
    share = min(0.8, (min(height, width) - 1) ** 2 / (height * width))  # a square must fit
    seed = int(torch.randint(2**31, ()))  # it seeds each batch by itself
    return SquareAttack(model, n_queries=steps, eps=epsilon, p_init=share, seed=seed).perturb(x, y)


def _simba(basis: Literal["px", "dct"]) -> Call:
    """The call of SimBA along pixels or cosines; all of them, in random order."""

    def call(model: nn.Module, x: Tensor, y: Tensor, epsilon: float, steps: int) -> Tensor:
        from art.attacks.evasion import SimBA

        class AnySimBA(SimBA):
            """The toolbox's, with all cosines of an image of any size, in random order."""

            def _block_order(self, *_, **__):
                return np.random.permutation(x[0].numel()).argsort()

            def _block_idct(self, coefficients, *_, **__):
                return idctn(coefficients, axes=(-2, -1), norm="ortho").astype(np.float32)

        def algorithm(classifier):
            # The toolbox's own order and transform are for squares, which freq_dim divides.
            options = {"epsilon": epsilon, "max_iter": steps, "verbose": False}
            return AnySimBA(classifier, attack=basis, freq_dim=x.shape[-2], **options)

        return _by_toolbox(nn.Sequential(model, nn.Softmax(-1)), algorithm, x, y)

    return call


def _by_toolbox(model: nn.Module, algorithm: Callable, x: Tensor, y: Tensor) -> Tensor:
    from art.estimators.classification import PyTorchClassifier

    with torch.inference_mode():
        classes = model(x[:1]).shape[-1]
    classifier = PyTorchClassifier(
        model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type=x.device.type if x.device.type == "cpu" else "gpu",
    )
    one_hot = nn.functional.one_hot(y, classes).float().cpu().numpy()
    return torch.from_numpy(algorithm(classifier).generate(x.cpu().numpy(), one_hot)).to(x)


_fgsm = _by_foolbox(lambda steps: foolbox.attacks.LinfFastGradientAttack())
_pgd_linf = _by_foolbox(lambda n: foolbox.attacks.LinfPGD(rel_stepsize=2.5 / n, steps=n))
_pgd_l2 = _by_foolbox(lambda n: foolbox.attacks.L2PGD(rel_stepsize=2.5 / n, steps=n))
_cw_l2 = _by_foolbox(_carlini_wagner)

_simba_px, _simba_dct = _simba("px"), _simba("dct")

WHITE, BLACK = "white-box", "black-box"
ATTACKS = {
    "fgsm": Attack("FGSM", WHITE, "linf", "bounded", 8 / 255, 1, 100, _fgsm),
    "pgd_linf": Attack("PGD L∞", WHITE, "linf", "bounded", 8 / 255, 20, 100, _pgd_linf),
    "pgd_l2": Attack("PGD L2", WHITE, "l2", "bounded", 0.5, 20, 100, _pgd_l2),
    "cw_l2": Attack("C&W L2", WHITE, "l2", "smallest", None, 50, 100, _cw_l2),
    "square": Attack("Square", BLACK, "linf", "bounded", 8 / 255, 300, 100, _square),
    "simba_pixel": Attack("SimBA (pixel)", BLACK, "l2", "walk", 0.2, 500, 1, _simba_px),
    "simba_dct": Attack("SimBA (DCT)", BLACK, "l2", "walk", 0.2, 500, 1, _simba_dct),
    "hopskipjump": Attack("HopSkipJump", BLACK, "l2", "smallest", None, 10, 16, _hop_skip_jump),
}


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextlib.contextmanager
def _with_gradients() -> Iterator[None]:
    """Gradients flow, whatever the caller has switched off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The libraries' warnings and log lines; neither has an option for them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _check_numbers(epsilon: float | None, steps: int | None, batch_size: int | None) -> None:
    if epsilon is not None and not epsilon > 0:
        raise ValueError(f"epsilon={epsilon}: numbers above 0 are valid")
    for name, value in {"steps": steps, "batch_size": batch_size}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: whole numbers from 1 are valid")
