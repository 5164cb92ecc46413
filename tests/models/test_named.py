import socket
import time

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from paperlib.models.checkpoints import CheckpointError, load_checkpoint
from paperlib.models.classifier import NORMALISATIONS
from paperlib.models.cnn import build_cnn
from paperlib.models.named import load_named, titles
from paperlib.models.robustbench import WideResNet

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def logits(model, images=IMAGES):
    with torch.no_grad():
        return model(images)


def test_a_checkpoint_of_the_project():
    found = load_named("openmoji-resnet20-natural")
    assert torch.equal(logits(found), logits(load_checkpoint("openmoji-resnet20-natural")))


def test_an_architecture_of_the_project_with_weights(tmp_path):
    torch.manual_seed(0)
    network = build_cnn("resnet32").eval()
    save_file(network.state_dict(), tmp_path / "some.safetensors")
    found = load_named(f"resnet32={tmp_path / 'some.safetensors'}")
    assert torch.equal(logits(found), logits(network))
    with pytest.raises(CheckpointError, match="does not fit resnet20"):
        load_named(f"resnet20={tmp_path / 'some.safetensors'}")


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_model_of_a_library_with_weights(library, tmp_path):
    torch.manual_seed(0)
    if library == "timm":
        network = timm.create_model("resnet10t", num_classes=7).eval()
        name, (mean, std) = "timm:resnet10t", NORMALISATIONS["ImageNet's"]
        assert network.pretrained_cfg["mean"] == mean and network.pretrained_cfg["std"] == std
    else:
        network = torchvision.models.resnet18(num_classes=7).eval()
        name = "torchvision:resnet18"
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, file)
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in NORMALISATIONS["ImageNet's"])
    found = logits(load_named(f"{name}={file}"))
    torch.testing.assert_close(found, logits(network, (IMAGES - mean) / std))
    plain = logits(load_named(f"{name}={file}", "none"))
    torch.testing.assert_close(plain, logits(network))
    half = logits(load_named(f"{name}={file}", "0.5 and 0.5"))
    torch.testing.assert_close(half, logits(network, 2 * IMAGES - 1))


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "torchvision:resnet18"])
def test_networks_of_both_sizes_without_weights(name, size):
    found = load_named(f"{name}=random", size=(size, size))
    assert logits(found, torch.rand(1, 3, size, size)).shape == (1, 1000)


def test_a_file_of_robustbench(tmp_path):
    torch.manual_seed(0)
    network = WideResNet(1, 1).eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    found = load_named(f"robustbench:{tmp_path / 'model.pt'}")
    assert torch.equal(logits(found), logits(network))


def test_a_function_of_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n"
        "from paperlib.models.classifier import Classifier\n"
        "def network():\n"
        "    return torch.nn.Sequential(torch.nn.AvgPool2d(32), torch.nn.Flatten())\n"
        "def wrapped():\n"
        "    return Classifier(network(), (0.5,), (0.25,))\n"
        "def number():\n"
        "    return 3\n"
        "def needs(classes):\n"
        "    return network()\n"
        "def raises():\n"
        "    raise RuntimeError('no weights\\nhere')\n"
    )
    means = IMAGES.mean((2, 3))
    torch.testing.assert_close(logits(load_named(f"{file}:network")), means)
    torch.testing.assert_close(logits(load_named(f"{file}:wrapped")), (means - 0.5) / 0.25)
    for name, message in (
        ("nothing", "no function 'nothing'"),
        ("number", "returns a int"),
        ("needs", r"needs, called without arguments, fails: TypeError: needs\(\) missing 1 req"),
        ("raises", "raises, called without arguments, fails: RuntimeError: no weights$"),
    ):
        with pytest.raises(ValueError, match=message):
            load_named(f"{file}:{name}")
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(ValueError, match=r"broken\.py fails: ModuleNotFoundError: No module named"):
        load_named(f"{tmp_path / 'broken.py'}:network")
    with pytest.raises(ValueError, match="there is no file"):
        load_named(f"{tmp_path / 'other.py'}:network")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnte20", "'resnte20' is unknown: valid are a checkpoint .* timm:NAME"),
        ("timm:resnet1", "timm has no model 'resnet1'"),
        ("timm:", "is unknown"),
        ("torchvision:resnet1", "torchvision has no classifier 'resnet1'"),
        ("torchvision:resnet18=nowhere.pth", "no weights at nowhere.pth"),
    ],
)
def test_wrong_names_are_named(name, message):
    with pytest.raises(ValueError, match=message):
        load_named(name)


@pytest.mark.parametrize("name", ["timm:resnet10t", "torchvision:resnet18"])
def test_weights_that_cannot_be_downloaded_are_named_at_once(name, tmp_path, monkeypatch, caplog):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    began = time.monotonic()
    with pytest.raises(ValueError, match=f"published weights of {name} cannot be had here") as told:
        load_named(name)
    assert "\n" not in str(told.value) and f"{name}=weights.pth" in str(told.value)
    assert time.monotonic() - began < 20 and "Retrying" not in caplog.text
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_an_unknown_normalisation_is_named():
    with pytest.raises(ValueError, match="'imagenet': valid are 'none', \"ImageNet's\""):
        load_named("resnet20", "imagenet")


def test_titles_leave_out_folders_where_they_can():
    assert titles(["a=x/y/1.pt", "a=x/y/2.pt"]) == {"a=x/y/1.pt": "a=1.pt", "a=x/y/2.pt": "a=2.pt"}
    assert titles(["a=x/1.pt", "a=y/1.pt"]) == {n: n for n in ("a=x/1.pt", "a=y/1.pt")}
    assert titles(["b"]) == {"b": "b"}


def test_a_network_that_is_named_twice_is_refused():
    with pytest.raises(ValueError, match="model 'b' is named twice"):
        titles(["b", "a", "b"])
