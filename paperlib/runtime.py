"""What every run shares: seeds, threads, the device, progress and the peak of memory."""

import contextlib
import ctypes
import io
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import numpy as np
import psutil
import torch
from threadpoolctl import threadpool_limits
from tqdm.std import tqdm

from paperlib.names import LARGEST_SEED

# Of Linux's C library: what it takes for itself, and gives back as soon as it is not needed.
LEAST, MOST = 2**20, 2**25  # bytes from which on; the second is what it ends up with by itself
MMAP_THRESHOLD = -3  # number of that setting


def seed_everything(seed: int) -> None:
    """Seed `random`, numpy's global generator and torch (every device).

    Raises:
        ValueError: `seed` is not between 0 and 2³² - 1, the range that numpy takes.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed={seed}: valid are 0 to {LARGEST_SEED}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def device() -> torch.device:
    """The device to compute on: ``$PAPERLIB_DEVICE``, else CUDA if there is one, else the CPU."""
    named = os.environ.get("PAPERLIB_DEVICE")
    return torch.device(named or ("cuda" if torch.cuda.is_available() else "cpu"))


def device_name() -> str:
    """What `device` is, in words for a card: the name of the graphics card, or "CPU"."""
    place = device()
    return torch.cuda.get_device_name(place) if place.type == "cuda" else place.type.upper()


def threads() -> int:
    """Threads that numeric libraries may use: ``$PAPERLIB_THREADS``, else one.

    One, because values depend on the number in their last digits, and notebooks run side by side.

    Raises:
        ValueError: ``$PAPERLIB_THREADS`` is not a whole number above 0.
    """
    named = os.environ.get("PAPERLIB_THREADS") or "1"
    if not named.isdecimal() or int(named) < 1:
        raise ValueError(f"PAPERLIB_THREADS={named}: valid are whole numbers above 0")
    return int(named)


def set_threads() -> None:
    """Let torch and the libraries under numpy and scipy use `threads` threads.

    Raises:
        ValueError: as for `threads`.
    """
    torch.set_num_threads(threads())
    threadpool_limits(threads())


def _in_a_kernel() -> bool:
    """Whether a Jupyter kernel runs this code; that ipykernel is imported does not say so."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive else None
    return hasattr(shell, "kernel")


class CellBar(tqdm):
    """A bar in the output of a notebook's cell; the output is empty when the loop or the cell ends.

    A widget or a stream would stay there and be saved. Bars that follow one another in a cell share
    an output.
    """

    emptied: ClassVar[list[Any]] = []  # handles of outputs that the running cell's next bars take

    def __init__(self, *args: Any, **options: Any) -> None:
        from IPython import get_ipython  # there is one in a kernel

        self.shown: Any = None  # the handle of the output, from the first drawing on
        self.events = get_ipython().events
        self.events.register("post_run_cell", self.end)
        super().__init__(*args, **options, leave=False, file=io.StringIO())

    def end(self, result: Any) -> None:
        """The cell has ended, be it by an error that left the loop open."""
        self.close()
        self.emptied.clear()
        self.events.unregister("post_run_cell", self.end)

    def close(self) -> None:
        """Leave the output empty, to the next bar."""
        super().close()
        if self.shown:
            self.emptied.append(self.shown)
            self.shown = None

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar, or `msg`; an empty one shows nothing."""
        from IPython.display import display

        text = str(self) if msg is None else msg
        bundle = {"text/plain": text} if text else {}
        if bundle and not self.shown and self.emptied:
            self.shown = self.emptied.pop()
        if self.shown:
            self.shown.update(bundle, raw=True)
        elif bundle:
            self.shown = display(bundle, raw=True, display_id=True)


def progress(iterable: Iterable[Any], description: str, total: int | None = None) -> tqdm:
    """`iterable` with a progress bar where a person watches, and without one elsewhere.

    The bar goes to the terminal named by ``$PAPERLIB_TTY`` if that is set, with the notebook's
    name from ``$PAPERLIB_NOTEBOOK``, and never into the outputs of a notebook; in an interactive
    kernel (``$PAPERLIB_BATCH`` unset) it is a `CellBar`, which leaves nothing; otherwise nothing
    is shown.

    Args:
        iterable: what to loop over.
        description: what is being done, in a few words.
        total: number of steps, where `iterable` has no length.
    """
    terminal = os.environ.get("PAPERLIB_TTY")
    description = " ".join(filter(None, [os.environ.get("PAPERLIB_NOTEBOOK"), description]))
    if terminal:
        try:
            stream = open(terminal, "w")  # noqa: SIM115 - lives as long as the bar
        except OSError:  # the terminal was closed during the run
            return tqdm(iterable, description, total, disable=True)
        return tqdm(iterable, description, total, leave=False, file=stream)
    if _in_a_kernel() and not os.environ.get("PAPERLIB_BATCH"):
        return CellBar(iterable, description, total)
    return tqdm(iterable, description, total, disable=True)


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def c_library(name: str) -> Callable[..., Any] | None:
    """A function of this system's C library by its name, or None where it has none of that name.

    Linux has "malloc_trim" and "mallopt", by which a process gives back what it has freed.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # the last one on Windows
        return getattr(ctypes.CDLL(None), name)
    return None


@contextlib.contextmanager
def giving_back() -> Iterator[None]:
    """Tensors of 1 MiB and more that are made while this is entered go back to the system.

    They do so as soon as they are not needed, be it later. Elsewhere than on Linux this does
    nothing.
    """
    set_option = c_library("mallopt") or (lambda *_: 0)
    set_option(MMAP_THRESHOLD, LEAST)
    try:
        yield
    finally:
        set_option(MMAP_THRESHOLD, MOST)


def seconds_a_call(function: Callable[[], Any], at_least: float) -> float:
    """Median time of a call, in seconds; a first call is not counted.

    Args:
        function: called again and again.
        at_least: for so many seconds, and three times at least.
    """
    function()
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < at_least:
        began = time.perf_counter()
        function()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
