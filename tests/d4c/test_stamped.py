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


def test_kinds_that_are_wanted_but_not_asked_for_are_kept_whatever_they_are(file):
    """Those that nobody wants are not: no command that is asked for one kind would mend them."""
    table = pd.read_csv(file).assign(**{MADE_FROM: "then"})
    pd.concat([table, table[:1].assign(model="c")]).to_csv(file, index=False)
    TABLE.drop(file, WANTED, {"model": "b"})
    assert kinds(file) == [("a", "W4A3"), ("a", "W2A8")]
    TABLE.drop(file, WANTED)
    assert pd.read_csv(file).empty


def test_rows_are_written_alike_whatever_was_there(file):
    def measured(kind):
        return rows(kind).assign(top1=1 / 3)

    header = file.read_text().splitlines()[0]
    for before in (None, header + "\n"):
        file.write_text(before) if before else file.unlink()
        TABLE.add(file, dict(zip(TABLE.kind, ALL[0], strict=True)), measured, ALL[0])
        first = [header, "a,W4A3,0,real,0.33,now a", "a,W4A3,1,real,0.33,now a"]
        assert file.read_text().splitlines() == first
    TABLE.add(file, dict(zip(TABLE.kind, ALL[2], strict=True)), rows, ALL[2])
    stale = file.read_text().replace("now b", "then")
    file.write_text(stale)
    TABLE.drop(file, WANTED)
    assert file.read_text().splitlines() == first


@pytest.mark.parametrize("stamp", ["0123456789012345", "12345678901234e5", "NA"])
@pytest.mark.parametrize("name", ["None", "NA", "nan"])
def test_stamps_and_names_that_look_like_something_else_are_text(tmp_path, stamp, name):
    file, kind = tmp_path / "table.csv", {"model": name, "bits": "W4A3"}
    wanted = [(name, "W4A3", draw, "real") for draw in range(2)]
    table = Stamped(KEYS, ["model", "bits"], lambda rows: [stamp] * len(rows), "make it")
    made = rows(("a", "W4A3")).assign(model=name)
    table.add(file, kind, lambda: made)
    before = file.read_bytes()
    pd.testing.assert_frame_equal(table.load(file, wanted), made)
    table.drop(file, wanted)
    table.add(file, kind, lambda: made)
    assert file.read_bytes() == before


def test_a_file_that_is_no_such_table_is_named_and_left(tmp_path):
    file = tmp_path / "table.csv"
    TABLE.drop(file, WANTED)  # nothing there, nothing done
    with pytest.raises(FileError, match=r"table\.csv: there is no such table: make it"):
        TABLE.load(file, WANTED)
    for content, words in (
        (b"", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"model,bits,top1\na,W4A3,1\n", r"has no columns \['draw', 'made_from', 'method'\]"),
        (
            b"model,bits,draw,method,made_from\n<<<<<<< HEAD\na,W4A3,0,real,x\n=======\n",
            "2 rows lack a value of model, bits, draw, method: take them out or ",
        ),
    ):
        file.write_bytes(content)
        for call in (TABLE.load, TABLE.drop):
            with pytest.raises(FileError, match=rf"table\.csv: {words}.*delete it, then make it$"):
                call(file, WANTED)
        assert file.read_bytes() == content
