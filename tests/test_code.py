"""The hash of code sees what is computed and nothing else; imports are all found."""

import pytest

from paperlib import code
from paperlib.code import code_hash, source_hash, with_imports

SOURCE = '''"""What it does."""

SIZE = 3  # pixels


class Model:
    """A model."""

    def area(self, side: int) -> int:
        """Its area."""
        total = side * side
        return total + SIZE
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# pixels", "# in pixels"),
        ("  # pixels", ""),
        ("What it does.", "Something else."),
        ('"""A model."""', '"""A model\n\n    of two lines."""'),
        ("Its area.", "The area of it."),
        ("\n\n\nclass", "\n\nclass"),
        ("side * side", "(\n            side * side\n        )"),
        ("        return", "\n        # now\n        return"),
        ("\n", "\r\n"),
        ("side * side", "side*side"),
    ],
)
def test_what_is_no_code_does_not_count(tmp_path, old, new):
    assert old in SOURCE
    (tmp_path / "a.py").write_bytes(SOURCE.encode())
    (tmp_path / "b.py").write_bytes(SOURCE.replace(old, new).encode())
    assert code_hash(tmp_path / "b.py") == code_hash(tmp_path / "a.py")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SIZE = 3", "SIZE = 4"),
        ("SIZE = 3", "SIZE = 3.0"),
        ("side * side", "side + side"),
        ("side * side", "side * -side"),
        ("total + SIZE", "SIZE + total"),
        ("def area", "def areas"),
        ("side: int", "side: int = 1"),
        ("class Model:", "@final\nclass Model:"),
        ("        return total", '        "no docstring"\n        return total'),
    ],
)
def test_what_is_computed_counts(old, new):
    assert old in SOURCE
    assert source_hash(SOURCE.replace(old, new)) != source_hash(SOURCE)


@pytest.mark.parametrize("head", ["def f():", "async def f():", "class C:"])
def test_a_docstring_where_there_was_none_does_not_count(head):
    bare = f"{head}\n    x = 1\n"
    assert source_hash(f'{head}\n    """Words."""\n    x = 1\n') == source_hash(bare)
    assert source_hash(f'"""Words."""\n{bare}') == source_hash(bare)
    assert source_hash(f"{head}\n    b'bytes'\n    x = 1\n") != source_hash(bare)


def test_what_is_no_python_is_named(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\ny = (\n")
    with pytest.raises(SyntaxError, match=r"a\.py, line 2: '\(' was never closed"):
        code_hash(tmp_path / "a.py")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Writes a small package of that name; says what a text imports of it."""
    monkeypatch.setattr(code, "ROOT", tmp_path)
    code._imports_of.cache_clear()
    for name, text in {
        "__init__.py": "",
        "low.py": "import math\n",
        "middle.py": "from paperlib.low import thing\n",
        "room/__init__.py": "from paperlib.room.inner import thing\n",
        "room/inner.py": "X = 1\n",
        "room/plots.py": "import paperlib.middle\n",
        "room/other_plots.py": "import paperlib.low\n",
        "notebook/__init__.py": "",
        "notebook/figures.py": "import paperlib.low\n",
        "notebook/start.py": "from paperlib.notebook import figures\n",
        "figures.py": "X = 1\n",
    }.items():
        file = tmp_path / "paperlib" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def found(text: str, **options: bool) -> set[str]:
        (tmp_path / "user.py").write_text(text)
        files = with_imports([tmp_path / "user.py"], **options)
        return {file.relative_to(tmp_path).as_posix() for file in files} - {
            "user.py",
            "paperlib/__init__.py",
        }

    yield found
    code._imports_of.cache_clear()


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("import paperlib.low", {"low"}),
        ("import paperlib.low as other, os", {"low"}),
        ("import os, paperlib.low", {"low"}),
        ("from paperlib import low", {"low"}),
        ("from paperlib import low as other, middle", {"low", "middle"}),
        ("from paperlib.low import thing", {"low"}),
        ("def f():\n    from paperlib import low", {"low"}),
        ("try:\n    import paperlib.low\nexcept ImportError:\n    pass", {"low"}),
        ("from paperlib.middle import x", {"middle", "low"}),
        ("import paperlib.room.inner", {"room/__init__", "room/inner"}),
        ("from paperlib import room", {"room/__init__", "room/inner"}),
        ("import numpy", set()),
        ("import paperlibrary.low", set()),
        ("x = 'import paperlib.low'", set()),
    ],
)
def test_imports_are_found(tree, text, files):
    assert tree(text) == {f"paperlib/{name}.py" for name in files}


def test_modules_through_which_no_value_passes_are_left_out_and_not_followed(tree):
    assert tree("from paperlib.room import other_plots, plots") == {
        "paperlib/room/__init__.py",
        "paperlib/room/inner.py",
    }
    assert tree("from paperlib.notebook.start import start") == {
        "paperlib/notebook/__init__.py",
        "paperlib/notebook/start.py",
    }
    assert tree("import paperlib.figures") == {"paperlib/figures.py"}  # only the room's own
    followed = tree("from paperlib.room import plots", all_of_them=True)
    assert {"paperlib/room/plots.py", "paperlib/middle.py", "paperlib/low.py"} <= followed
    begun = tree("from paperlib.notebook.start import start", all_of_them=True)
    assert {"paperlib/notebook/figures.py", "paperlib/low.py"} <= begun


def test_the_package_itself_is_run_first(tree, tmp_path):
    (tmp_path / "user.py").write_text("import paperlib.low")
    assert tmp_path / "paperlib/__init__.py" in with_imports([tmp_path / "user.py"])


def test_circles_end(tree, tmp_path):
    (tmp_path / "paperlib/low.py").write_text("import paperlib.middle\n")
    assert tree("import paperlib.low") == {"paperlib/low.py", "paperlib/middle.py"}


def test_no_import_of_the_project_is_relative():
    """The reader of imports knows none."""
    for file in (code.ROOT / "paperlib").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "\nfrom ." not in text, file
