"""The CLIPs of a notebook: the small ones, or one that is named, with the sizes for it."""

from pathlib import Path

import open_clip
import pytest
import torch

from paperlib.d4c.encoders import chosen_encoders
from paperlib.d4c.settings import Settings
from paperlib.d4c.sizes import SHORT_D4C, SIZES, TINY_D4C
from paperlib.models.clip import image_size, small_clip_name
from paperlib.notebook.run import Run
from paperlib.paths import CHECKPOINTS

QUANTIZATION, SYNTHESIS = SIZES["12_quantization"]["default"], SIZES["11_synthesis"]["smoke"]


def of(sizes, profile="default", dataset="openmoji", **changes):
    parameters = {"changes": changes}
    return Run("any", profile, 0, dataset, parameters, sizes, Path(), False, inputs={})


def test_without_a_name_they_are_the_small_ones_of_the_profile():
    clips, own, label = chosen_encoders(of(QUANTIZATION))
    assert set(clips) == {"resnet", "vit"} and own is QUANTIZATION and own.published
    assert label == ""


@pytest.mark.parametrize("tower", ["resnet", "vit"])
def test_a_named_one_takes_their_place_and_its_images_are_made_here(tower):
    name = small_clip_name(tower, "cifar10")
    (found,), own, label = chosen_encoders(of(QUANTIZATION), name)
    assert found == tower and own.encoders == {tower: SHORT_D4C} and not own.published
    assert own.bits == QUANTIZATION.bits and label == name
    (found,), own, _ = chosen_encoders(of(SYNTHESIS), name)
    assert found == tower and own.encoders == {tower: TINY_D4C}  # the profile has a ResNet alone


def test_in_profile_paper_it_has_the_papers_settings_unless_they_are_changed():
    name = small_clip_name("vit", "openmoji")
    _, own, _ = chosen_encoders(of(QUANTIZATION, "paper", seeds=2), name)
    assert Settings(**own.encoders["vit"]) == Settings()
    changes = {"encoders.vit.synthesis_iterations": 7}
    _, own, _ = chosen_encoders(of(QUANTIZATION, "paper", **changes), name)
    assert own.encoders == {"vit": SHORT_D4C}  # in which `start` has put the changes


def test_weights_go_with_a_config_of_open_clip(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), path)
    run, cpu = of(QUANTIZATION, dataset="cifar10"), torch.device("cpu")
    clips, own, label = chosen_encoders(run, "ViT-S-32-alt", str(path), cpu)
    model, tokenizer = clips["vit"]
    assert image_size(model) == 224 and tokenizer(["a dog"]).shape == (1, 77)
    assert list(own.encoders) == ["vit"] and label == f"ViT-S-32-alt, {path}"


def test_what_is_not_valid_is_said():
    with pytest.raises(ValueError, match="name the model too, such as model='RN50'"):
        chosen_encoders(of(QUANTIZATION), weights=str(CHECKPOINTS))
    with pytest.raises(ValueError, match="name='RN51': valid are our checkpoints"):
        chosen_encoders(of(QUANTIZATION), "RN51")
    with pytest.raises(ValueError, match="openmoji-clip-vit is a checkpoint of ours"):
        chosen_encoders(of(QUANTIZATION), "openmoji-clip-vit", str(CHECKPOINTS))
