r"""Adversarial attacks, one small adapter over two libraries.

An attack looks for an image $x'$ near $x$ that the model gets wrong: either it maximises the loss
within $\lVert x' - x \rVert_p \le \varepsilon$ (FGSM, PGD, Square), or it makes
$\lVert x' - x \rVert_2$ as small as it can (C&W, HopSkipJump), or it walks along single pixels or
cosines for as long as the score of the true class falls (SimBA). No attack is written here:
foolbox (Rauber et al., arXiv 1707.04131) has the first five names of `ATTACKS`, the Adversarial
Robustness Toolbox (Nicolae et al., arXiv 1807.01069) the others.

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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import eagerpy
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from paperlib.models.frozen import frozen
from paperlib.runtime import progress

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # or importing foolbox fails without git
import foolbox


@dataclass(frozen=True)
class Attack:
    """What an attack is allowed and what it costs.

    Attributes:
        title: name for tables and figures.
        norm: in which the perturbation is bounded or minimised, over all pixels and channels.
        knowledge: "white-box" uses gradients, "black-box" outputs only.
        epsilon: default bound in units of the [0, 1] image; None: no bound, the attack minimises.
            For SimBA the length of each step, so that the L2 norm is at most epsilon √steps.
        steps: default budget: gradient steps (C&W: in each of `CW_SEARCHES` rounds), steps of
            HopSkipJump, or iterations of Square and SimBA (up to two queries each).
        batch_size: default number of images attacked together.
        library: that runs it.
    """

    title: str
    norm: Literal["linf", "l2"]
    knowledge: Literal["white-box", "black-box"]
    epsilon: float | None
    steps: int
    batch_size: int
    library: str


FOOLBOX, TOOLBOX = "foolbox", "adversarial-robustness-toolbox"
ATTACKS = {
    "fgsm": Attack("FGSM", "linf", "white-box", 8 / 255, 1, 100, FOOLBOX),
    "pgd_linf": Attack("PGD L∞", "linf", "white-box", 8 / 255, 20, 100, FOOLBOX),
    "pgd_l2": Attack("PGD L2", "l2", "white-box", 0.5, 20, 100, FOOLBOX),
    "cw_l2": Attack("C&W L2", "l2", "white-box", None, 50, 100, FOOLBOX),
    "hopskipjump": Attack("HopSkipJump", "l2", "black-box", None, 10, 16, FOOLBOX),
    "square": Attack("Square", "linf", "black-box", 8 / 255, 300, 100, TOOLBOX),
    "simba_pixel": Attack("SimBA (pixel)", "l2", "black-box", 0.2, 500, 1, TOOLBOX),
    "simba_dct": Attack("SimBA (DCT)", "l2", "black-box", 0.2, 500, 1, TOOLBOX),
}
CW_SEARCHES = 5  # rounds of the search for C&W's trade-off constant


def specification(name: str) -> Attack:
    """The row of `ATTACKS`.

    Raises:
        ValueError: there is none, with the names that are valid.
    """
    if name not in ATTACKS:
        raise ValueError(f"attack {name!r} is unknown: valid are {', '.join(ATTACKS)}")
    return ATTACKS[name]


def linf_pgd(
    model: nn.Module,
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    epsilon: float,
    step_size: float,
    steps: int,
    random_start: bool = True,
    autocast: bool = False,
) -> Float[Tensor, "n 3 height width"]:
    """PGD in the L∞ ball, for the inner loop of adversarial training; draws from torch's generator.

    One step of 1.25 epsilon from a random start is FGSM-RS (Wong et al., arXiv 2001.03994). The
    model is in eval mode and without parameter gradients during the attack, and as before after it.

    Args:
        model: takes images in [0, 1], returns logits.
        images: RGB in [0, 1].
        labels: true classes.
        epsilon: largest change of a pixel value, in units of the [0, 1] image.
        step_size: change of a pixel value in one step, same units.
        steps: number of gradient steps.
        random_start: start from a uniform draw in the ball instead of the image.
        autocast: run the model in bfloat16 where torch's autocast does.
    """
    algorithm = foolbox.attacks.LinfPGD(
        abs_stepsize=step_size, steps=steps, random_start=random_start
    )
    with frozen(model):
        wrapped = _foolbox_model(_Autocast(model) if autocast else model, images.device)
        return algorithm.run(wrapped, images, labels, epsilon=epsilon).detach()


def attack(
    name: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Float[Tensor, "n 3 height width"]:
    """Adversarial images, the same for the same seed and batch size.

    Random generators and the model's mode are as before when it returns. Images on which the
    attack fails come back as the library leaves them: at the edge of the ball, or unchanged.

    Args:
        name: a key of `ATTACKS`.
        model: takes images in [0, 1], returns logits (n, classes).
        images: RGB in [0, 1], float (n, 3, height, width).
        labels: true classes, int64 (n,).
        epsilon: see `Attack`; None takes the default. Given to C&W or HopSkipJump, perturbations
            beyond it are shortened to it (and then mostly fail).
        steps: see `Attack`; None takes the default.
        seed: of every draw that the attack makes.
        batch_size: images attacked together; None takes the default.

    Returns:
        Images in [0, 1], float32, on the device of `images`.

    Raises:
        ValueError: unknown name, or images or labels of the wrong shape, type or range.
    """
    chosen = specification(name)
    _check(images, labels, epsilon, steps, batch_size)
    epsilon = chosen.epsilon if epsilon is None else epsilon
    steps = steps or chosen.steps
    run = _run_foolbox if chosen.library == FOOLBOX else _run_toolbox
    batches = list(
        zip(
            images.float().split(batch_size or chosen.batch_size),
            labels.split(batch_size or chosen.batch_size),
            strict=True,
        )
    )
    with _seeded(seed), frozen(model), _quiet():
        return torch.cat(
            [
                run(name, model, x, y, epsilon, steps).detach()
                for x, y in progress(batches, chosen.title)
            ]
        )


def _run_foolbox(
    name: str, model: nn.Module, x: Tensor, y: Tensor, epsilon: float | None, steps: int
) -> Tensor:
    wrapped = _foolbox_model(model, x.device)
    if name == "hopskipjump":
        return _hop_skip_jump(wrapped, x, y, epsilon, steps)
    algorithm = {
        "fgsm": lambda: foolbox.attacks.LinfFastGradientAttack(),
        "pgd_linf": lambda: foolbox.attacks.LinfPGD(rel_stepsize=2.5 / steps, steps=steps),
        "pgd_l2": lambda: foolbox.attacks.L2PGD(rel_stepsize=2.5 / steps, steps=steps),
        "cw_l2": lambda: foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=CW_SEARCHES, steps=steps, stepsize=0.01, initial_const=0.1
        ),
    }[name]()
    _, adversarial, _ = algorithm(wrapped, x, y, epsilons=epsilon)
    if name == "cw_l2":  # foolbox marks failure by a black image
        failed = adversarial.flatten(1).amax(1) == 0
        adversarial = torch.where(failed[:, None, None, None], x, adversarial)
    return adversarial.clamp(0, 1)


class _HopSkipJump(foolbox.attacks.HopSkipJumpAttack):
    """foolbox's, with the gradient of each image normalised by itself, not by the batch."""

    def approximate_gradients(self, *arguments, **options):
        gradients = super().approximate_gradients(*arguments, **options).raw
        norms = gradients.flatten(1).norm(dim=1)[:, None, None, None]
        return eagerpy.astensor(gradients / (norms + 1e-12))


def _hop_skip_jump(
    wrapped: foolbox.PyTorchModel, x: Tensor, y: Tensor, epsilon: float | None, steps: int
) -> Tensor:
    start = foolbox.attacks.LinearSearchBlendedUniformNoiseAttack(directions=100, steps=50)
    starts = start.run(wrapped, x, y)
    found = wrapped(starts).argmax(-1) != y
    adversarial = x.clone()
    if found.any():
        algorithm = _HopSkipJump(steps=steps)
        _, adversarial[found], _ = algorithm(
            wrapped, x[found], y[found], starting_points=starts[found], epsilons=epsilon
        )
    return adversarial.clamp(0, 1)


def _run_toolbox(
    name: str, model: nn.Module, x: Tensor, y: Tensor, epsilon: float, steps: int
) -> Tensor:
    from art.attacks.evasion import SimBA, SquareAttack  # takes seconds, so only when needed
    from art.estimators.classification import PyTorchClassifier

    with torch.inference_mode():
        classes = model(x[:1]).shape[-1]
    simba = name.startswith("simba")
    classifier = PyTorchClassifier(
        nn.Sequential(model, nn.Softmax(-1)) if simba else model,  # SimBA follows a probability
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type=x.device.type if x.device.type == "cpu" else "gpu",
    )
    options = {"max_iter": steps, "verbose": False}
    if simba:
        basis = name.removeprefix("simba_").replace("pixel", "px")
        algorithm = SimBA(
            classifier, attack=basis, epsilon=epsilon, freq_dim=x.shape[-1], **options
        )  # all cosines in random order; the toolbox's default takes the lowest first
    else:
        algorithm = SquareAttack(classifier, eps=epsilon, batch_size=len(x), **options)
    one_hot = nn.functional.one_hot(y, classes).float().cpu().numpy()
    adversarial = algorithm.generate(x.cpu().numpy(), one_hot)
    return torch.from_numpy(adversarial).to(x)


class _Autocast(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.model(x).float()


def _foolbox_model(model: nn.Module, device: torch.device) -> foolbox.PyTorchModel:
    return foolbox.PyTorchModel(model, bounds=(0, 1), device=device)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


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


def _check(
    images: Tensor,
    labels: Tensor,
    epsilon: float | None,
    steps: int | None,
    batch_size: int | None,
) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images have shape {tuple(images.shape)}: (n, 3, height, width) is valid")
    if not images.is_floating_point() or images.min() < 0 or images.max() > 1:
        raise ValueError(
            f"images are {images.dtype} from {images.min():g} to {images.max():g}: "
            "floats from 0 to 1 are valid"
        )
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}: "
            f"int64 of shape ({len(images)},) is valid"
        )
    if epsilon is not None and not epsilon > 0:
        raise ValueError(f"epsilon={epsilon}: numbers above 0 are valid")
    for name, value in {"steps": steps, "batch_size": batch_size}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: whole numbers from 1 are valid")
