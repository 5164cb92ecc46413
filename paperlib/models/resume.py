"""Going on after an interruption: one file that says how far a long computation is.

The file is written whole or not at all, carries a fingerprint of its content that is checked before
anything in it is read, and is loaded without running code. It belongs to one run: what decides the
result is kept beside the state, and a file of another run is refused.
"""

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from paperlib.files import fingerprint, write_files

SECONDS = 60.0  # between two saves


class Resume:
    """The file of one run.

    A run loads once, offers its state after every step, and finishes::

        resume = Resume(path, {"recipe": asdict(recipe), "seed": seed})
        state = resume.load() or {"step": 0, "images": start}
        for step in range(state["step"], steps):
            ...
            resume.save(lambda: {"step": step + 1, "images": images})
        resume.finish()

    A run that goes on equals one that was never interrupted if its state holds all that changes
    (weights and optimisers) and each step derives its random numbers from the step's number.
    """

    def __init__(self, path: Path | None, run: Mapping[str, Any], every: float = SECONDS) -> None:
        """Args:
        path: the file; None keeps nothing.
        run: what decides the result: text, numbers, None, and lists and dicts of them; weights
            by their `fingerprint`.
        every: seconds between two saves.
        """
        self.path, self.run, self.every = path, dict(run), every
        self._began = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """That the run has taken until now, its earlier parts included."""
        return time.monotonic() - self._began

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last, on the CPU; None where there is none.

        A file that is damaged (cut, empty, other bytes) is named, and the run starts anew.

        Raises:
            ValueError: the file is of another run; with the file's name and what differs.
        """
        if self.path is None or not self.path.is_file():
            return None
        stamp, _, content = self.path.read_bytes().partition(b"\n")
        if stamp != fingerprint(content).encode():
            print(f"{self.path} is damaged: this run starts anew", flush=True)
            return None
        kept = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        names = sorted(kept["run"].keys() | self.run.keys())
        other = [name for name in names if kept["run"].get(name) != self.run.get(name)]
        if other:
            raise ValueError(
                f"{self.path} is of another run ({', '.join(other)} differ): finish that one, or "
                "delete the file to start anew"
            )
        self._began = time.monotonic() - kept["seconds"]
        return kept["state"]

    def save(self, state: Callable[[], Mapping[str, Any]]) -> bool:
        """Write ``state()`` if the last save is `every` seconds ago; whether it was written.

        The state may hold tensors, text, numbers, None, and lists, tuples and dicts of them, such
        as the ``state_dict`` of a model or an optimiser.
        """
        if self.path is None or time.monotonic() - self._saved < self.every:
            return False
        content = io.BytesIO()
        kept = {"run": self.run, "seconds": self.seconds, "state": dict(state())}
        torch.save(kept, content)
        stamp = fingerprint(content.getvalue()).encode()
        write_files({self.path: stamp + b"\n" + content.getvalue()})
        self._saved = time.monotonic()
        return True

    def finish(self) -> None:
        """Delete the file: the run is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
