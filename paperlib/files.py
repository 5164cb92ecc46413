"""Writing files whole or not at all, reading YAML, and naming content by its fingerprint.

Does not import torch, which takes two seconds and which most commands do not need.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import yaml


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
    torch = sys.modules.get("torch")  # who has a tensor or a module has imported it
    match value:
        case _ if torch and isinstance(value, torch.Tensor):
            array = value.detach().cpu().contiguous()
            digest.update(f"tensor {array.dtype} {tuple(array.shape)}\0".encode())
            digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
        case _ if torch and isinstance(value, torch.nn.Module):
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
