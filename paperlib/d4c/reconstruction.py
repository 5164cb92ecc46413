r"""Reconstruction: rounding and activation scales learned module by module.

A module is a bottleneck of a ResNet, or a layer of an attention pool or transformer. It gets its
input from the already quantized modules before it and is to give what the float model gives there:

$$\min_{V, s}\; \frac{1}{n} \sum \lVert \hat y - y \rVert^2 +
\lambda \sum_i \bigl(1 - |2 h(V_i) - 1|^\beta\bigr),$$

the squared error summed over the second axis, as the official code has it (channels of a
convolution, but tokens of a transformer and of the attention pool), mean over the others. After a
warm-up without the second term β falls from 20 to 2, which drives every $h$ to 0 or 1. Adam for
$V$, another with cosine decay for the scales $s$ of the module's inputs. The scales of q, k and v
behind their projection and those of the softmax stay as they were found.

Cut short, the penalty has not decided every rounding, and what is then rounded may be worse than
the nearest rounding. A module that got worse keeps the nearest one, with a warning (ours).

Inputs and targets of a module are computed once, from those of the stage (bottleneck, pool or
transformer block) that it is in, so that what lies before never runs again. At most four such
tensors are held at a time: the stage's input in both models, the module's input and its target.
Source: Zhang et al., arXiv 2511.15411, after Nagel et al., arXiv 2004.10568.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from paperlib.d4c.quantized_clip import ModuleError, QuantizedClip
from paperlib.d4c.quantized_layers import QuantizedLayer, Tower
from paperlib.d4c.quantizers import ActivationQuantizer, rounding_penalty, soft_rounding
from paperlib.d4c.settings import Settings
from paperlib.files import fingerprint
from paperlib.models.resume import Resume
from paperlib.runtime import progress
from paperlib.seeds import generator

HELD = 4  # tensors of activations at a time


class ReconstructionWarning(UserWarning):
    """A module that got worse keeps the nearest rounding."""


def reconstruct(
    model: QuantizedClip,
    images: Float[Tensor, "n 3 height width"] | None,
    tokens: Int[Tensor, "m context"] | None,
    towers: Sequence[Tower] = ("image", "text"),
    checkpoint: Path | None = None,
    modules: int | None = None,
) -> list[ModuleError]:
    """Learn, in place, the rounding and scales of a model that has ranges.

    The result is the same for the same seed, also when an interrupted run is taken up again. A
    `ReconstructionWarning` names every module that got worse.

    Args:
        model: its `settings` say how.
        images: calibration images, normalised as the model takes them; None where the image tower
            is not reconstructed.
        tokens: of calibration prompts; None where the text tower is not reconstructed.
        towers: which to reconstruct, in this order.
        checkpoint: file that keeps what was learned of finished modules; an interrupted run goes on
            from it (see `Resume`). It is deleted at the end.
        modules: so many of a tower's first ones alone, the others keep the nearest rounding; None
            learns all.

    Raises:
        ValueError: such a tower has no ranges yet, images or tokens have another size than the
            model takes, there are none for a tower, the file is of another run, the
            activations are too large for `memory_budget` even in half precision, or the text
            tower has a mask a prompt.
    """
    model.check_inputs(images, tokens)
    if tokens is None and "text" in towers:
        raise ValueError("tokens=None: the text tower is reconstructed with tokens of prompts")
    if images is None and "image" in towers:
        raise ValueError("images=None: the image tower is reconstructed with images")
    model.check_ranges(towers)
    samples = [given for given in (images, tokens) if given is not None]
    key = checkpoint and fingerprint(model, model.settings, samples, list(towers))
    resume = Resume(checkpoint, {"model, settings, images, prompts or towers": key})
    done = resume.load() or {}  # by module: what was learned, and the errors
    errors = []
    for tower in towers:
        stages = model.stages(tower)
        parts = [(stage.module, *part) for stage in stages for part in stage.parts()][:modules]
        samples, encode = (
            (images, model.encode_image) if tower == "image" else (tokens, model.encode_text)
        )
        walk = _Walk(model, samples, encode, stages[0].module)
        rate = getattr(model.settings, f"{tower}_scale_rate")
        reached = stages[0].module
        for stage, name, module in parts:
            if stage is not reached:
                walk.advance(reached)
                reached = stage
            if name in done:
                _restore(module, done[name]["learned"])
                errors.append(ModuleError(name, *done[name]["errors"]))
                continue
            errors.append(_learn(name, module, *walk.pair(stage, module), model.settings, rate))
            done[name] = {"learned": dict(_learned(module)), "errors": errors[-1][1:]}
            resume.save(lambda: done)
    resume.finish()
    return errors


class _Stop(Exception):  # noqa: N818 - no error: the rest of a forward pass is not needed
    pass


class _Walk:
    """The input of the stage that is reached, in the float and in the quantized model."""

    def __init__(
        self,
        model: QuantizedClip,
        samples: Tensor,
        encode: Callable[[Tensor], Tensor],
        first: nn.Module,
    ) -> None:
        self.model, self.count = model, len(samples)
        self.batch = model.settings.reconstruction_batch
        self.more: tuple[Any, ...] = ()  # further arguments of a stage, by place and by name:
        self.options: dict[str, Any] = {}  # a causal mask comes either way

        def keep(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            self.more, self.options = args[1:], options

        def run(batch: Tensor) -> Tensor:
            return encode(batch.to(_device(model)))

        with first.register_forward_pre_hook(keep, with_kwargs=True):
            self.float = self.quantized = self._collect(run, samples, first, "input")
        given = [*self.more, *self.options.values()]
        if any(isinstance(mask, Tensor) and mask.ndim > 2 for mask in given):
            raise ValueError("model: a text tower with a mask for every prompt cannot be learned")

    def pair(self, stage: nn.Module, module: nn.Module) -> tuple[Tensor, Tensor]:
        """Input of a module after quantized ones, and its output in the float model."""
        self.model.switch(False)
        targets = self._collect(self._run(stage), self.float, module, "output")
        self.model.switch(True)
        if module is stage:
            return self.quantized, targets
        return self._collect(self._run(stage), self.quantized, module, "input"), targets

    def advance(self, stage: nn.Module) -> None:
        """Go to the input of the next stage."""
        self.model.switch(False)
        self.float = self._collect(self._run(stage), self.float, stage, "output")
        self.model.switch(True)
        self.quantized = self._collect(self._run(stage), self.quantized, stage, "output")

    def _run(self, stage: nn.Module) -> Callable[[Tensor], Tensor]:
        return lambda batch: stage(batch.to(_device(stage)).float(), *self.more, **self.options)

    @torch.no_grad()
    def _collect(
        self, run: Callable[[Tensor], Tensor], samples: Tensor, module: nn.Module, side: str
    ) -> Tensor:
        """Input or output of a module for all samples; what comes after it does not run."""
        caught: list[Tensor] = []

        def before(_: nn.Module, args: tuple[Any, ...]) -> None:
            caught.append(args[0])
            raise _Stop

        def after(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            caught.append(output)
            raise _Stop

        hook = (
            module.register_forward_pre_hook(before)
            if side == "input"
            else module.register_forward_hook(after)
        )
        values: Tensor | None = None
        with hook:
            for index in torch.arange(self.count).split(self.batch):
                try:
                    run(samples[index])
                except _Stop:
                    part = caught.pop()
                if values is None:
                    values = self._allocate((self.count, *part.shape[1:]))
                values[index] = part.to(values)
        return values

    def _allocate(self, shape: tuple[int, ...]) -> Tensor:
        size, share = torch.Size(shape).numel(), self.model.settings.memory_budget // HELD
        if 2 * size > share:
            raise ValueError(
                f"memory_budget={HELD * share:,} bytes: activations of shape {shape} need "
                f"{HELD * 2 * size:,} even in half precision; give that or fewer samples"
            )
        return torch.empty(shape, dtype=torch.float32 if 4 * size <= share else torch.float16)


def _learn(
    name: str, module: nn.Module, inputs: Tensor, targets: Tensor, settings: Settings, rate: float
) -> ModuleError:
    """Learn rounding and scales of one module."""
    layers = [m for m in module.modules() if isinstance(m, QuantizedLayer)]
    scales = [layer.input.scale for layer in layers]
    iterations, batch = settings.reconstruction_iterations, settings.reconstruction_batch
    warmup = int(settings.rounding_warmup * iterations)
    first_beta, last_beta = settings.rounding_beta
    drawing = generator(settings.seed, name)

    before = _mean_error(module, inputs, targets, batch)
    if iterations == 0:
        return ModuleError(name, before, before, before, 0.0)
    nearest = {name: value.clone() for name, value in _learned(module)}
    rounding = [layer.weight_quantizer.start_rounding(layer.weight) for layer in layers]
    by_rounding = torch.optim.Adam(rounding, settings.rounding_rate, fused=True)
    by_scale = torch.optim.Adam(scales, rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(by_scale, iterations)
    for step in progress(range(iterations), name):
        index = torch.randperm(len(inputs), generator=drawing)[:batch]
        loss = _error(module, inputs[index], targets[index])
        if step >= warmup:
            passed = (step - warmup) / max(1, iterations - 1 - warmup)
            beta = first_beta + (last_beta - first_beta) * passed
            for v in rounding:
                loss = loss + settings.rounding_weight * rounding_penalty(v, beta)
        by_rounding.zero_grad()
        by_scale.zero_grad()
        loss.backward()
        by_rounding.step()
        by_scale.step()
        decay.step()
        with torch.no_grad():
            for scale in scales:
                scale.clamp_(min=1e-8)
    shares = torch.cat([soft_rounding(v.detach()).flatten() for v in rounding])
    undecided = undecided_roundings(shares).float().mean().item()
    for layer in layers:
        layer.weight_quantizer.finish_rounding()
    learned = _mean_error(module, inputs, targets, batch)
    if learned > before:
        _restore(module, nearest)
        warnings.warn(
            f"{name}: after {iterations} iterations {undecided:.0%} of the rounding is undecided "
            f"and the error rose from {before:.3g} to {learned:.3g}; the nearest rounding is kept",
            ReconstructionWarning,
            stacklevel=2,
        )
    return ModuleError(name, before, min(before, learned), learned, undecided)


def undecided_roundings(shares: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
    """Which of the shares that `soft_rounding` gives, 0 down to 1 up, are neither."""
    return (shares > 0.05) & (shares < 0.95)


def _error(module: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error summed over the second axis, mean over the others."""
    device = _device(module)
    outputs = module(inputs.to(device).float())
    return (outputs - targets.to(device).float()).square().sum(1).mean()


@torch.no_grad()
def _mean_error(module: nn.Module, inputs: Tensor, targets: Tensor, batch: int) -> float:
    parts = zip(inputs.split(batch), targets.split(batch), strict=True)
    return sum(len(x) * float(_error(module, x, y)) for x, y in parts) / len(inputs)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _learned(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What reconstruction changes."""
    for name, part in module.named_modules():
        if isinstance(part, QuantizedLayer):
            yield f"{name}.codes", part.weight_quantizer.codes
        elif isinstance(part, ActivationQuantizer):
            yield f"{name}.scale", part.scale.detach()


@torch.no_grad()
def _restore(module: nn.Module, learned: dict[str, Tensor]) -> None:
    for name, value in _learned(module):
        value.copy_(learned[name])
