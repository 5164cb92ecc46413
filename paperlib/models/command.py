"""What the commands that train a checkpoint share: options, the recipe's changes, the card.

A card's command holds every option that was given and those of the recipe that decide it, so that
it trains the same network again; the card also names the device, and the commit of the code, which
``$PAPERLIB_COMMIT`` says where it is another than the card's.
"""

import argparse
import functools
import os
import typing
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from paperlib.files import fingerprint
from paperlib.models.checkpoints import halve, save_checkpoint
from paperlib.models.resume import Resume
from paperlib.paths import CHECKPOINTS, cache_dir
from paperlib.runtime import device_name

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


@dataclass(frozen=True)
class Training:
    """One training of a checkpoint, from its start to its card.

    Attributes:
        module: whose command this is.
        name: of the checkpoint.
        model: as it starts; it is trained in place.
        recipe: a dataclass of hyper-parameters.
        data: what it is trained on, in words.
        options: as given; those that name folders are no part of the command.
    """

    module: str
    name: str
    model: nn.Module
    recipe: Any
    data: str
    options: argparse.Namespace

    @functools.cached_property
    def resume(self) -> Resume:
        """Where the training keeps its state; first asked for before the first step."""
        run = {"recipe": asdict(self.recipe), "data": self.data, "seed": self.options.seed}
        path = self.options.work / f"{self.name}-seed{self.options.seed}.pt"
        return Resume(path, run | {"start": fingerprint(self.model)})

    def finish(self, measure: Callable[[], dict[str, Any]]) -> None:
        """Round and measure the trained network, write it with its card, and remove the state.

        `measure` gives what is the card's own, of the rounded model: architecture, what was
        measured (named test_… or zero_…); its "recipe" is added to the recipe's fields, and it
        may give "training_seconds" of all stages; without it, they are those of this run.
        """
        seconds = round(self.resume.seconds)
        halve(self.model)
        own = {"data": self.data, "recipe": {}} | measure()
        words = [
            f"--{key.replace('_', '-')} {value}"
            for key, value in vars(self.options).items()
            if key not in ("folder", "work") and value is not None
        ]
        card = own | {
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "recipe": asdict(self.recipe) | own["recipe"],
            "training_seconds": own.get("training_seconds", seconds),
            "device": device_name(),
            "commit": os.environ.get("PAPERLIB_COMMIT", "the one that has this card"),
            "command": f"python -m {self.module} {' '.join(words)}",
        }
        path = save_checkpoint(self.model, self.name, card, self.options.folder)
        self.resume.finish()
        measured = {key: value for key, value in own.items() if key.startswith(("test_", "zero_"))}
        print(f"{path.name}: {seconds} s, {measured}", flush=True)
