import shlex
import subprocess
import sys

import pytest

from paperlib.terminal import Parser


def test_an_error_is_one_sentence(capsys):
    command = Parser(prog="python -m it")
    command.add_argument("--number", type=int)
    with pytest.raises(SystemExit) as ended:
        command.parse_args(["--number", "many"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert said.startswith("python -m it: argument --number: invalid int value")


def test_a_reader_that_leaves_is_no_error():
    """As ``| head`` does."""
    program = "from paperlib.terminal import say\nfor _ in range(9999): say('x' * 99)"
    line = f"{sys.executable} -c {shlex.quote(program)} | head -n 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == "x" * 99 + "\n" and done.stderr == ""
