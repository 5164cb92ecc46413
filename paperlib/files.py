"""Writing files whole or not at all, naming content by its fingerprint, and keeping what is slow.

A cache's key is what decides the thing kept: the code from the making function downwards, the
weights, the settings, the seed; never who asks for it.
"""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from filelock import FileLock
from safetensors import SafetensorError
from torch import Tensor, nn

from paperlib.code import code_hash, with_imports


class FileError(ValueError):
    """A file of the project that is wrong; the message names it and says what to do."""


class _UniqueKeys(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                place = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {place}: {key.value!r} stands twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> Any:
    """The content of a YAML file in which no key stands twice.

    Raises:
        FileError: the file is missing, not UTF-8 or not YAML; one sentence with its name.
    """
    try:
        return yaml.load(file.read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise FileError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{file}: not UTF-8 at byte {error.start}: save it as UTF-8") from None
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f"line {place.line + 1}: {error.problem}" if place else str(error)
        raise FileError(f"{file}: not YAML: {where}") from None


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write files: all of them beside their place first, then each into place in one step.

    Folders are made where they are missing. A reader sees the old file or the new one, never a
    part, also after a loss of power; when writing fails, no file is replaced and nothing is left
    over.

    Raises:
        FileError: the system refuses (a full disk, a folder that is not writable).
    """
    ready: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            ready[path] = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            with open(ready[path], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in ready.items():
            os.replace(temporary, path)
    except OSError as error:
        why = error.strerror
        raise FileError(f"{path.parent}: cannot write {path.name} there: {why}") from None
    finally:
        for temporary in ready.values():
            temporary.unlink(missing_ok=True)


def fingerprint(*values: Any) -> str:
    """First 16 hex digits of the SHA-256 of values: their types, shapes and every byte.

    Takes tensors, modules (their state), files (a `Path`: its content), dataclasses, mappings,
    sequences, text, bytes, numbers and None.

    Raises:
        TypeError: a value of another type.
    """
    digest = hashlib.sha256()
    _update(digest, values)
    return digest.hexdigest()[:16]


def _update(digest: Any, value: Any) -> None:
    match value:
        case Tensor():
            array = value.detach().cpu().contiguous()
            digest.update(f"tensor {array.dtype} {tuple(array.shape)}\0".encode())
            digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
        case nn.Module():
            _update(digest, value.state_dict())
        case Path():
            digest.update(b"file\0" + hashlib.sha256(value.read_bytes()).digest())
        case Mapping():
            _update(digest, [part for name in sorted(value) for part in (name, value[name])])
        case bytes():
            digest.update(f"{len(value)} bytes\0".encode())
            digest.update(value)
        case str() | int() | float() | None:
            digest.update(f"{type(value).__name__} {value!r}\0".encode())
        case tuple() | list():
            digest.update(f"{len(value)} values\0".encode())
            for part in value:
                _update(digest, part)
        case _ if is_dataclass(value):
            _update(digest, [type(value).__name__, asdict(value)])
        case _:
            raise TypeError(f"no fingerprint of a {type(value).__name__}")


def cache_path(folder: Path, made_by: Callable[..., Any], *decides: Any) -> Path:
    """Where `cached` keeps what a function makes, named by what decides it.

    Args:
        folder: of the cache.
        made_by: a function (or `functools.partial` of one); the code of its module and of all that
            this imports is part of the name.
        decides: every value that the result depends on beside the code (see `fingerprint`).
    """
    function = made_by.func if isinstance(made_by, functools.partial) else made_by
    files = with_imports([Path(function.__code__.co_filename)])
    key = fingerprint([code_hash(file) for file in sorted(files)], *decides)
    return folder / f"{function.__name__.strip('_')}-{key}.safetensors"


def cached(
    folder: Path | None,
    make: Callable[[], dict[str, Tensor]],
    *decides: Any,
    made_by: Callable[..., Any] | None = None,
) -> dict[str, Tensor]:
    """What ``make()`` gives, kept in `folder` under what decides it.

    Two processes that want the same wait for each other. A file that is damaged (cut, empty, other
    bytes) is named and made again.

    Args:
        folder: of the cache; None keeps nothing.
        make: a function (or `functools.partial` of one) without further arguments.
        decides: as for `cache_path`.
        made_by: the function whose code decides, where `make` only calls it.
    """
    if folder is None:
        return make()
    path = cache_path(folder, made_by or make, *decides)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            kept = _read(path)
            if kept is not None:
                return kept
            print(f"{path} is damaged: it is made again")
        made = {name: tensor.detach().cpu().contiguous() for name, tensor in make().items()}
        stamp = {"fingerprint": fingerprint(made)}
        write_files({path: safetensors.torch.save(made, stamp)})
        return made


def _read(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file that `cached` wrote; None if they are not what was written."""
    content = path.read_bytes()
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        whole = fingerprint(tensors) == header["__metadata__"]["fingerprint"]
    except (SafetensorError, ValueError, KeyError):
        return None
    return tensors if whole else None
