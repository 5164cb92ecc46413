import pandas as pd
import pytest

from paperlib.d4c.stamped import MADE_FROM, Stamped
from paperlib.files import FileError

KEYS = ["model", "bits", "draw", "method"]
WANTED = [
    (model, bits, draw, "real")
    for model in ("a", "b")
    for bits in ("W4A3", "W2A8")
    for draw in range(2)
]
TABLE = Stamped(KEYS, ["model", "bits"], lambda rows: ["now " + x for x in rows.model], "make it")


def rows(*kinds):
    named = [(*name, 50.0 + name[2]) for name in WANTED if name[:2] in kinds]
    return pd.DataFrame(named, columns=[*KEYS, "top1"])


ALL = list(dict.fromkeys(name[:2] for name in WANTED))


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "table.csv"
    for kind in ALL:
        TABLE.add(file, dict(zip(TABLE.kind, kind, strict=True)), rows, kind)
    return file


def kinds(file):
    return list(dict.fromkeys(pd.read_csv(file)[TABLE.kind].itertuples(index=False, name=None)))


def test_a_table_is_made_kind_by_kind_and_read_without_stamps(file, capsys):
    pd.testing.assert_frame_equal(TABLE.load(file, WANTED), rows(*ALL))
    assert pd.read_csv(file)[MADE_FROM].tolist() == ["now a"] * 4 + ["now b"] * 4

    def never(_):
        raise AssertionError("measured what is there")

    TABLE.add(file, {"model": "a", "bits": "W2A8"}, never, ("a", "W2A8"))
    assert capsys.readouterr().out == ""
    TABLE.drop(file, WANTED)
    assert kinds(file) == ALL and capsys.readouterr().out == ""


# What can be wrong with a table, and the kinds that have to be measured again.
DAMAGES = {
    "stale": (lambda t: t.replace({MADE_FROM: {"now b": "then b"}}), ALL[2:]),
    "one stale row": (
        lambda t: t.assign(made_from=t[MADE_FROM].where(t.index != 5, "x")),
        ALL[2:3],
    ),
    "a hole": (lambda t: t.drop(index=0), ALL[:1]),
    "doubled": (lambda t: pd.concat([t, t[7:8]]), ALL[3:]),
    "a whole kind doubled": (lambda t: pd.concat([t, t[6:8]]), ALL[3:]),
    "a draw more": (lambda t: pd.concat([t, t[1:2].assign(draw=2)]), ALL[:1]),
    "an unknown model": (lambda t: pd.concat([t, t[:2].assign(model="c")]), []),
    "a renamed model": (lambda t: t.replace({"model": {"b": "c"}}), ALL[2:]),
    "a missing kind": (lambda t: t[:6], ALL[3:]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_refused_is_what_the_command_makes_again(file, name):
    """Whatever is wrong, the command that the message names mends it."""
    damage, again = DAMAGES[name]
    damage(pd.read_csv(file)).to_csv(file, index=False)
    words = "rows are of other sets" if "stale" in name else "rows are missing, or more"
    with pytest.raises(FileError, match=rf"table\.csv: .*{words}.*: make it$"):
        TABLE.load(file, WANTED)
    TABLE.drop(file, WANTED)
    assert kinds(file) == [kind for kind in ALL if kind not in again]
    for kind in ALL:
        TABLE.add(file, dict(zip(TABLE.kind, kind, strict=True)), rows, kind)
    found = TABLE.load(file, WANTED).sort_values(KEYS, ignore_index=True)
    pd.testing.assert_frame_equal(found, rows(*ALL).sort_values(KEYS, ignore_index=True))


def test_rows_that_are_not_asked_for_are_kept_whatever_they_are(file):
    table = pd.read_csv(file).assign(**{MADE_FROM: "then"})
    pd.concat([table, table[:1].assign(model="c")]).to_csv(file, index=False)
    TABLE.drop(file, WANTED, {"model": "b"})
    assert kinds(file) == [("a", "W4A3"), ("a", "W2A8"), ("c", "W4A3")]
    TABLE.drop(file, WANTED)
    assert pd.read_csv(file).empty


def test_a_file_that_is_no_such_table_is_named_and_left(tmp_path):
    file = tmp_path / "table.csv"
    TABLE.drop(file, WANTED)  # nothing there, nothing done
    with pytest.raises(FileError, match=r"table\.csv: there is no such table: make it"):
        TABLE.load(file, WANTED)
    for content, words in (
        (b"", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"model,bits,top1\na,W4A3,1\n", r"has no columns \['draw', 'made_from', 'method'\]"),
    ):
        file.write_bytes(content)
        for call in (TABLE.load, TABLE.drop):
            with pytest.raises(FileError, match=rf"table\.csv: {words}.*: delete it, then make it"):
                call(file, WANTED)
        assert file.read_bytes() == content
