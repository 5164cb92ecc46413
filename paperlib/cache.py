"""Keeping tensors that are slow to make.

A cache's key is what decides the thing kept: the code from the making function downwards, the
weights, the settings, the seed; never who asks for it.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
from filelock import FileLock
from safetensors import SafetensorError
from torch import Tensor

from paperlib.code import code_hash, with_imports
from paperlib.files import fingerprint, write_files


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
