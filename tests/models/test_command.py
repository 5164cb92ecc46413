"""What the training commands share: a card's command trains the same again."""

from dataclasses import asdict, dataclass

import pytest
import torch
from torch import nn

from paperlib.models import command
from paperlib.models.checkpoints import load_card, read_weights


@dataclass(frozen=True)
class Recipe:
    steps: int = 5
    learning_rate: float = 0.1
    batch_size: int = 3


CHANGEABLE = ("steps", "learning_rate")


def parse(words, tmp_path):
    parser = command.parser("Train.", Recipe, CHANGEABLE)
    parser.add_argument("--name", required=True)
    places = ["--folder", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    return parser.parse_args([*words.split(), *places])


def trained(words, tmp_path, **more):
    options = parse(words, tmp_path)
    recipe = command.changed(Recipe(), options, CHANGEABLE)
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    training = command.Training("some.module", "it", model, recipe, "some data", options)
    training.resume.every = 0
    path = training.resume.path
    assert training.resume.save(dict) and path.parent == tmp_path / "work"
    seen = []

    def measure():
        seen.append(model.weight.detach().clone())
        own = {"architecture": "linear", "test_accuracy": 0.5, "recipe": {"start": "none"}}
        return own | more

    training.finish(measure)
    assert torch.equal(seen[0], seen[0].half().float())  # it is measured as it is stored
    assert not path.exists()
    return recipe, model, load_card("it", tmp_path / "out")


def test_the_card_s_command_trains_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PAPERLIB_DEVICE", "cpu")
    monkeypatch.setenv("PAPERLIB_COMMIT", "abc")
    recipe, model, card = trained("--name a --steps 7 --seed 3", tmp_path)
    assert recipe == Recipe(steps=7)
    assert card["data"] == "some data"
    assert card["recipe"] == asdict(recipe) | {"start": "none"}
    assert card["parameters"] == 6 and 0 <= card["training_seconds"] < 100
    assert (card["device"], card["commit"]) == ("CPU", "abc")
    loaded = read_weights(nn.Linear(2, 2), tmp_path / "out" / "it.safetensors")
    assert torch.equal(loaded.weight, model.weight)
    assert capsys.readouterr().out.endswith("{'test_accuracy': 0.5}\n")
    module, _, words = card["command"].partition("some.module ")
    assert module == "python -m "
    again, _, same = trained(words, tmp_path, training_seconds=123)  # of several stages
    assert again == recipe and same["command"] == card["command"]
    assert same["training_seconds"] == 123
    assert "--learning-rate 0.1" in words and "--seed 3" in words and "work" not in words


def test_the_state_belongs_to_recipe_seed_data_and_start(tmp_path):
    options, model = parse("--name a", tmp_path), nn.Linear(2, 2)

    def resume(model, recipe, data):
        return command.Training("some.module", "it", model, recipe, data, options).resume

    begun = resume(model, Recipe(), "data")
    begun.every = 0
    begun.save(dict)
    assert resume(model, Recipe(), "data").load() == {}
    for start, recipe, data in (
        (nn.Linear(2, 2), Recipe(), "data"),
        (model, Recipe(batch_size=4), "data"),
        (model, Recipe(), "other data"),
    ):
        with pytest.raises(ValueError, match="of another run"):
            resume(start, recipe, data).load()
