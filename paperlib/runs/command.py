"""What the commands share: text that any terminal takes, and failures in one sentence."""

import functools
import io
import sys
from collections.abc import Callable, Sequence

from paperlib.files import FileError

Main = Callable[[Sequence[str] | None], int]


def command(main: Main) -> Callable[..., int]:
    """A ``main`` that prints in any encoding and ends with exit code 2 where a file is wrong.

    A character that the terminal's encoding lacks is shown as a question mark.
    """

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        try:
            return main(arguments)
        except FileError as error:
            print(error, file=sys.stderr)
        except OSError as error:
            print(reason(error), file=sys.stderr)
        return 2

    return run


def reason(error: OSError, folder: object = "") -> str:
    """Which file or folder the system refused, and why; `folder` where the error names none."""
    why = error.strerror or str(error)
    place = error.filename or folder
    return f"{place}: {why}" if place else why
