"""A classifier by its name, with its weights and the normalisation that its library gives it.

| name | what it is |
| --- | --- |
| ``openmoji-resnet20-pgd`` | a checkpoint of ``data/checkpoints`` |
| ``resnet32`` | an architecture of `paperlib.models.cnn` |
| ``timm:NAME`` | a model of timm |
| ``torchvision:NAME`` | a model of torchvision |
| ``robustbench:FILE`` | a file of weights as RobustBench keeps them; it holds the architecture |
| ``FILE.py:FUNCTION`` | what the function of your file returns: a module, or a `Classifier` |

Behind each but the first and the one of RobustBench, ``=FILE`` names weights (safetensors or
PyTorch's own, a state dict or a training checkpoint with one); ``=random`` asks for none. Without
it timm and torchvision take their own pretrained weights, which they download.
"""

import contextlib
import importlib.util
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import nn

from paperlib.models.checkpoints import CheckpointError, load_checkpoint, read_tensors
from paperlib.models.classifier import NORMALISATIONS, Classifier
from paperlib.models.cnn import CNNS, build_cnn
from paperlib.models.robustbench import load_robustbench
from paperlib.paths import CHECKPOINTS

RANDOM = "random"


def load_named(
    name: str, normalisation: str | None = None, size: tuple[int, int] | None = None
) -> Classifier:
    """The classifier of a name, in eval mode.

    Args:
        name: see the table above.
        normalisation: a key of `NORMALISATIONS`; None takes the library's own, and for what has
            none of its own, no normalisation.
        size: height and width of the images, for those models of timm that are built for one.

    Raises:
        ValueError: unknown name or normalisation; a function that fails or returns something else;
            published weights that cannot be downloaded.
        CheckpointError: weights that are missing, damaged or of another architecture.
    """
    if normalisation is not None and normalisation not in NORMALISATIONS:
        raise ValueError(
            f"normalisation={normalisation!r}: valid are {', '.join(map(repr, NORMALISATIONS))}"
        )
    what, _, weights = name.partition("=")
    library, _, inner = what.partition(":")
    if library in LIBRARIES and inner:
        found = LIBRARIES[library](inner, weights, size)
    elif inner and library.endswith(".py"):
        found = _from_file(Path(library), inner, weights)
    elif what in CNNS:
        found = Classifier(_with(build_cnn(what), weights or RANDOM, what))
    elif (CHECKPOINTS / f"{what}.json").is_file() and not weights:
        found = Classifier(load_checkpoint(what))
    else:
        raise ValueError(
            f"model {name!r} is unknown: valid are a checkpoint of data/checkpoints, "
            f"{', '.join(CNNS)}, {', '.join(f'{key}:NAME' for key in LIBRARIES)} and "
            "FILE.py:FUNCTION, with =WEIGHTS behind it"
        )
    if normalisation is not None:
        found = Classifier(found.network, *NORMALISATIONS[normalisation], found.output)
    return found.eval()


def titles(names: Sequence[str]) -> dict[str, str]:
    """Titles of networks: without the folders of their weights, where that tells them apart.

    Raises:
        ValueError: a name stands there twice.
    """
    if twice := [name for k, name in enumerate(names) if name in names[:k]]:
        raise ValueError(f"model {twice[0]!r} is named twice: each one once is valid")
    short = {name: name.replace(f"={Path(name.partition('=')[2]).parent}/", "=") for name in names}
    return short if len(set(short.values())) == len(short) else {name: name for name in names}


def _timm(name: str, weights: str, size: tuple[int, int] | None) -> Classifier:
    import timm

    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name}*")[:5]) or "see timm.list_models()"
        raise ValueError(f"timm has no model {name!r}: {near}")
    options = {} if weights in ("", RANDOM) else {"num_classes": _classes(weights)}
    options |= {"pretrained": not weights}
    with _downloading(f"timm:{name}"):
        try:
            network = timm.create_model(name, img_size=size, **options) if size else None
        except TypeError:  # it takes images of any size
            network = None
        network = network or timm.create_model(name, **options)
    mean, std = (network.pretrained_cfg.get(key, (value,)) for key, value in _NOTHING.items())
    return Classifier(_with(network, weights or RANDOM, name), tuple(mean), tuple(std))


def _torchvision(name: str, weights: str, size: tuple[int, int] | None) -> Classifier:
    from torchvision import models

    if name not in models.list_models(models):
        raise ValueError(f"torchvision has no classifier {name!r}: see torchvision.models")
    options = {} if weights in ("", RANDOM) else {"num_classes": _classes(weights)}
    with _downloading(f"torchvision:{name}"):
        network = models.get_model(name, weights=None if weights else "DEFAULT", **options)
    return Classifier(_with(network, weights or RANDOM, name), *NORMALISATIONS["ImageNet's"])


@contextlib.contextmanager
def _downloading(name: str) -> Iterator[None]:
    """Download published weights; where the hub's address is unknown, its cache alone is asked.

    Its client would ask six times, for half a minute.

    Raises:
        ValueError: there are none, or they cannot be downloaded.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        if not urllib.request.getproxies():
            socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"the published weights of {name} cannot be had here: name a file of them, "
            f"{name}=weights.pth ({_line(error)})"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def _line(error: Exception) -> str:
    """What an exception says, on one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _robustbench(file: str, weights: str, size: tuple[int, int] | None) -> Classifier:
    return load_robustbench(Path(file).expanduser())


LIBRARIES: dict[str, Callable[[str, str, tuple[int, int] | None], Classifier]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "robustbench": _robustbench,
}
HEADS = ("fc", "head", "heads", "classifier", "linear")
_NOTHING = {"mean": 0.0, "std": 1.0}


def _from_file(file: Path, function: str, weights: str) -> Classifier:
    if not file.expanduser().is_file():
        raise ValueError(f"there is no file {file}")
    spec = importlib.util.spec_from_file_location(file.stem, file.expanduser())
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # of any kind: it is the reader's own code
        raise ValueError(f"{file} fails: {type(error).__name__}: {_line(error)}") from error
    if not callable(getattr(module, function, None)):
        raise ValueError(f"{file} has no function {function!r}")
    try:
        made = getattr(module, function)()
    except Exception as error:
        raise ValueError(
            f"{file}:{function}, called without arguments, fails: "
            f"{type(error).__name__}: {_line(error)}"
        ) from error
    if not callable(made):
        raise ValueError(
            f"{file}:{function} returns a {type(made).__name__}: a torch module, a Classifier or "
            "a function from images to logits is needed"
        )
    if weights:
        inner = made.network if isinstance(made, Classifier) else made
        _with(inner, weights, f"{file}:{function}")
    return made if isinstance(made, Classifier) else Classifier(made)


def _with(network: nn.Module, weights: str, name: str) -> nn.Module:
    """The network with the tensors of a file; as it is for `RANDOM`."""
    if weights == RANDOM:
        return network
    try:
        network.load_state_dict(read_tensors(Path(weights).expanduser()))
    except RuntimeError as error:
        raise CheckpointError(f"{weights} does not fit {name}: {error}") from None
    return network


def _classes(weights: str) -> int:
    """How many logits a network has, from the weights of the layer that gives them.

    Raises:
        CheckpointError: no layer is named as timm and torchvision name it.
    """
    tensors = read_tensors(Path(weights).expanduser())
    heads = [
        tensor
        for name, tensor in tensors.items()
        if name.partition(".")[0] in HEADS and name.endswith(".weight")
    ]
    if not heads:
        raise CheckpointError(f"{weights} has no layer that gives logits: {', '.join(HEADS)}")
    return heads[-1].shape[0]
