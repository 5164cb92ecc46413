"""Notebooks argue: words beside the code, sentences after each figure, an answer at the end."""

import json
import re

import pytest

from paperlib.paths import NOTEBOOKS

WORDS_A_LINE = 6
WORDS_AFTER_A_FIGURE = 20
FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
each = pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])


def cells(file):
    """Kind and text of every cell of a committed notebook."""
    notebook = json.loads(file.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def prose(text):
    """The words of a Markdown text: what has letters, without tables, formulas, code, addresses."""
    text = re.sub(r"\$\$.*?\$\$|```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"\$[^$]*\$|\]\([^)]*\)|^\|.*$", " ", text, flags=re.MULTILINE)
    return re.findall(r"[^\W\d_][\w'’.-]*", text)


def words_a_line(notebook):
    """Words of prose over lines of code that are neither blank nor comment."""
    words = sum(len(prose(text)) for kind, text in notebook if kind == "markdown")
    lines = [line.strip() for kind, text in notebook if kind == "code" for line in text.split("\n")]
    return words / sum(bool(line) and not line.startswith("#") for line in lines)


def without_a_sentence(notebook):
    """Code cells that save a figure and are not followed by prose, before any next heading.

    Between the two may stand cells that say sentences of this run.
    """
    bare = []
    for k, (kind, text) in enumerate(notebook):
        if kind == "code" and "run.save_figure(" in text:
            after = (cell for cell in notebook[k + 1 :] if "run.say(" not in cell[1])
            kind, words = next(after, ("", ""))
            before_heading = f"\n{words}".partition("\n#")[0]
            if kind != "markdown" or len(prose(before_heading)) < WORDS_AFTER_A_FIGURE:
                bare.append(text)
    return bare


def test_what_counts_as_a_word():
    text = "Two words\n\n| a | table |\n\n$$x = y$$\n\nof [prose](http://a.b) at $n = 3$, 4 × 4"
    text += "\n\n```\nls\n```"
    assert prose(text) == ["Two", "words", "of", "prose", "at"]
    assert words_a_line([("markdown", text), ("code", "# no line\n\nx = 1\ny = 2")]) == 2.5


def test_what_counts_as_a_sentence():
    figure = ("code", "run.save_figure(plots.one, table)")
    sentence = ("markdown", f"{'Bright is what matters. ' * 5}\n\n## Next")
    assert not without_a_sentence([figure, ("code", 'run.say("It is 3.")'), sentence])
    for after in ([], [("code", "x = 1"), sentence], [("markdown", f"## Next\n\n{sentence[1]}")]):
        assert without_a_sentence([figure, *after]) == [figure[1]]


@each
def test_words_beside_the_code(file):
    assert words_a_line(cells(file)) >= WORDS_A_LINE


@each
def test_a_figure_is_followed_by_what_it_shows(file):
    assert without_a_sentence(cells(file)) == []


@each
def test_the_question_is_answered(file):
    text = "\n".join(text for kind, text in cells(file) if kind == "markdown")
    assert 0 <= text.find("**Question.**") < text.find("he question answered")


@each
def test_no_leftover_of_a_drawing_is_shown(file):
    notebook = json.loads(file.read_text(encoding="utf-8"))
    outputs = [out for cell in notebook["cells"] for out in cell.get("outputs", [])]
    shown = "\n".join("".join(out.get("data", {}).get("text/plain", "")) for out in outputs)
    assert not re.search(r"Text\(|<Axes|<matplotlib| object at 0x", shown)
