"""Notebooks argue: words beside the code, sentences after each figure, an answer at the end."""

import ast
import json
import re

import pytest

from paperlib.paths import NOTEBOOKS

WORDS_A_LINE = 6
WORDS_AFTER_A_FIGURE = 20
LINES_OF_CODE = 5  # of a cell, as formatted; more is a function of the package
NUMBER = r"\d\.\d|\[[-−]?\d|\b\d+ against \d|\d (?:%|dB|ms|points)"
COMPARING = (
    r"\b(?:more|less|fewer|most|least|best|worst|better|worse|half|twice|same|ahead|behind|beats?"
    r"|\w+er than|\w*(?:high|low|larg|small|great|wid|near|fast|slow|clos|clear)(?:er|est))\b"
)
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


def long_cells(notebook):
    """Code cells of more than `LINES_OF_CODE` lines, without comments, imports and plain values."""
    found = []
    for _, text in (cell for cell in notebook if cell[0] == "code"):
        lines = [
            line
            for part in ast.parse(text).body
            if not isinstance(part, (ast.Import, ast.ImportFrom))
            and not isinstance(getattr(part, "value", None), ast.Constant)
            for line in text.split("\n")[part.lineno - 1 : part.end_lineno]
            if line.strip() and not line.strip().startswith("#")
        ]
        if len(lines) > LINES_OF_CODE:
            found.append(text)
    return found


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


def typed_comparisons(notebook):
    """Sentences of Markdown that compare with numbers, as a run's code should (`run.say`).

    A sentence compares if it has a comparing word and a decimal number, an interval or a number
    with a unit, or if it says how things are in the default profile. Formulas, tables, the level of
    intervals (95 %) and links are no numbers of a run.
    """
    found = []
    for _, text in (cell for cell in notebook if cell[0] == "markdown"):
        text = re.sub(
            r"\$\$.*?\$\$|```.*?```|^\|.*?$|^#.*?$", " ", text, flags=re.DOTALL | re.MULTILINE
        )
        text = re.sub(r"\[[^]]*\]\([^)]*\)|\$[^$]*\$|95 %", " ", text)
        sentences = re.split(r"(?<=[.:;?])\s+|\n\n", text)
        found += [
            " ".join(sentence.split())
            for sentence in sentences
            if re.search(r"\bdefault profile\b", sentence)
            or (re.search(NUMBER, sentence) and re.search(COMPARING, sentence))
        ]
    return found


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


def test_what_counts_as_a_long_cell():
    few = "import a\nfrom b import (\n    c,\n    d,\n)\n\nplain = 0.5  # a parameter\n# words\n"
    few += "x = [\n    1,\n]\ny = f(2)\nz = f(3)"
    assert long_cells([("code", few), ("markdown", "\n" * 9)]) == []
    assert long_cells([("code", f"{few}\nw = f(4)")]) == [f"{few}\nw = f(4)"]


@pytest.mark.parametrize(
    "sentence",
    [
        "Robust networks have more in it (0.34 against 0.18).",
        "In the default profile none of the eight has.",
        "The correlation is lower, [-0.71, 0.11].",
        "With the ViT it is 3 points ahead.",
    ],
)
def test_what_counts_as_a_comparison_of_a_run(sentence):
    assert typed_comparisons([("markdown", f"What to see.\n{sentence} Compare them.")]) == [
        sentence
    ]


@pytest.mark.parametrize(
    "sentence",
    [
        "More of it, with an interval (95 %).",
        "Photographs have $a$ near $1.5$, so most is low.",
        "| more | 0.3 |",
        "A band below 8 of 32 has more.",
        "As [arXiv 2511.15411](https://arxiv.org/abs/2511.15411) has more.",
    ],
)
def test_what_does_not(sentence):
    assert typed_comparisons([("markdown", sentence), ("code", "# 0.3, more than 0.2")]) == []


@each
def test_numbers_of_a_run_are_compared_by_its_code(file):
    assert typed_comparisons(cells(file)) == []


@each
def test_cells_are_short(file):
    assert long_cells(cells(file)) == []


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
