"""What the commands that train a checkpoint share: options, the recipe's changes, the card.

A card's command holds every option that was given and those of the recipe that decide it, so that
it trains the same network again.
"""

import argparse
import typing
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from paperlib.files import fingerprint
from paperlib.models.checkpoints import halve, save_checkpoint
from paperlib.models.resume import Resume
from paperlib.paths import CHECKPOINTS, cache_dir

R = TypeVar("R")  # a recipe: a dataclass of hyper-parameters


def parser(description: str, recipe: type, changeable: Sequence[str]) -> argparse.ArgumentParser:
    """Options of a training: its recipe's fields that may be changed, seed, and folders."""
    options = argparse.ArgumentParser(description=description)
    kinds = typing.get_type_hints(recipe)
    for name in changeable:
        flag = f"--{name.replace('_', '-')}"
        options.add_argument(flag, type=kinds[name], help="default: the recipe's")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, default=CHECKPOINTS, help="where to write it")
    options.add_argument(
        "--work",
        type=Path,
        default=cache_dir() / "training",
        help="where drawn scenes and the state of an interrupted training are kept",
    )
    return options


def changed(recipe: R, options: argparse.Namespace, changeable: Sequence[str]) -> R:
    """The recipe with what the options change; they then hold all that may be changed."""
    given = {name: getattr(options, name) for name in changeable}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    for name in changeable:
        setattr(options, name, getattr(recipe, name))
    return recipe


def begin(
    name: str, model: nn.Module, recipe: Any, data: str, options: argparse.Namespace
) -> Resume:
    """Where a training keeps its state; `data` in words, `model` as it starts."""
    run = {"recipe": asdict(recipe), "data": data, "start": fingerprint(model)}
    return Resume(options.work / f"{name}-seed{options.seed}.pt", run | {"seed": options.seed})


def finish(
    module: str,
    name: str,
    model: nn.Module,
    recipe: Any,
    measure: Callable[[], dict[str, Any]],
    options: argparse.Namespace,
    resume: Resume,
) -> None:
    """Round and measure a trained network, write it with its card, and remove the state.

    Args:
        module: whose command this is.
        name: of the checkpoint.
        model: is rounded by `halve` before it is measured.
        recipe: that it was trained by.
        measure: gives what is the card's own: architecture, data, what was measured; its "recipe"
            is added to the recipe's fields.
        options: as given; those that name folders are no part of the command.
        resume: of this training.
    """
    seconds = round(resume.seconds)
    halve(model)
    own = {"recipe": {}} | measure()
    words = [
        f"--{key.replace('_', '-')} {value}"
        for key, value in vars(options).items()
        if key not in ("folder", "work") and value is not None
    ]
    card = own | {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "recipe": asdict(recipe) | own["recipe"],
        "training_seconds": seconds,
        "command": f"python -m {module} {' '.join(words)}",
    }
    path = save_checkpoint(model, name, card, options.folder)
    resume.finish()
    measured = {key: value for key, value in own.items() if key.startswith(("test_", "zero_"))}
    print(f"{path.name}: {seconds} s, {measured}", flush=True)
