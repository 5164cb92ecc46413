r"""PGD whose perturbation has only the frequencies of a band, and noise of the same kind.

With $P$ the projection onto the DCT components of a band (orthogonal, since the DCT is), a step is

$$\delta \leftarrow \Pi_\varepsilon\!\left(\delta +
\alpha\, \frac{P\,\nabla_x L}{\lVert P\,\nabla_x L \rVert_2}\right),$$

$\Pi_\varepsilon$ shortening to norm $\varepsilon$. It is foolbox's PGD in the L2 norm with the
gradient projected and no random start, so $\delta$ stays in the band; what clipping to [0, 1] adds
beyond it is small where images leave room. The null control is Gaussian noise in the band, of norm
$\varepsilon$ too. After Guo et al., arXiv 1809.08758, and Sharma et al., arXiv 1903.00073, who
confine attacks to low frequencies.
"""

from collections.abc import Mapping

import foolbox
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from paperlib.freq.bands import filter_components
from paperlib.models.classifier import Images, as_classifier, check_labels, floats
from paperlib.models.frozen import frozen
from paperlib.models.training import predict
from paperlib.seeds import generator

Mask = Bool[Tensor, "height width"]


class _BandPGD(foolbox.attacks.L2ProjectedGradientDescentAttack):
    """foolbox's, along the part of the gradient that lies in a band."""

    def __init__(self, mask: Tensor, steps: int) -> None:
        super().__init__(rel_stepsize=2.5 / steps, steps=steps, random_start=False)
        self.mask = mask

    def value_and_grad(self, loss_fn, x):  # foolbox's types
        loss, gradient = super().value_and_grad(loss_fn, x)
        return loss, type(gradient)(filter_components(gradient.raw, self.mask))


def band_attack(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    mask: Mask,
    epsilon: float,
    steps: int = 20,
) -> Float[Tensor, "n channels height width"]:
    """Images in [0, 1] attacked within the components of a mask; nothing is drawn.

    Args:
        model: takes images in [0, 1], returns logits.
        images: floats in [0, 1] or uint8, attacked all at once.
        labels: true classes.
        mask: which components may change.
        epsilon: largest L2 norm of a perturbation, in units of the [0, 1] image.
        steps: of gradient ascent, each of 2.5 ε / steps.
    """
    images, model = floats(images).float(), as_classifier(model)
    check_labels(labels, len(images), model.classes(images))
    with frozen(model), torch.inference_mode(False), torch.enable_grad():
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
        attack = _BandPGD(mask.to(images.device), steps)
        _, found, _ = attack(wrapped, images.clone(), labels.clone(), epsilons=epsilon)
    return found.detach()


def band_noise(
    images: Images, mask: Mask, epsilon: float, seed: int
) -> Float[Tensor, "n channels height width"]:
    """Images in [0, 1] plus Gaussian noise in the components of a mask, of L2 norm ε, clipped."""
    images = floats(images)
    noise = torch.randn(images.shape, generator=generator(seed, "band noise")).to(images)
    noise = filter_components(noise, mask.to(images.device))
    norms = noise.flatten(1).norm(dim=1)[:, None, None, None]
    return (images + epsilon * noise / norms).clamp(0, 1)


def fooled(
    model: nn.Module,
    images: Images,
    labels: Int[Tensor, " n"],
    masks: Mapping[str, Mask],
    epsilon: float,
    steps: int,
    seed: int,
) -> dict[tuple[str, str], Bool[Tensor, " right"]]:
    """Which of the images classified right are wrong after attack or noise in each band.

    Returns:
        By "attack" or "noise", and name of the mask; arguments as above.
    """
    images = floats(images)
    right = predict(model, images) == labels
    x, y = images[right], labels[right]
    found = {}
    for name, mask in masks.items():
        after = {
            "attack": band_attack(model, x, y, mask, epsilon, steps),
            "noise": band_noise(x, mask, epsilon, seed),
        }
        found |= {(how, name): (predict(model, z) != y).cpu() for how, z in after.items()}
    return found
