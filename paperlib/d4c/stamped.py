"""Tables of measurements, each row with a stamp of what decided it, that commands make bit by bit.

Rows that are measured together are a kind. A command adds one kind after the other, so that an
interrupted one goes on where it was; before that it takes out every kind that is not what would be
measured today: of other settings, weights or sets, with a row too few, too many or unknown.
Notebooks read a table only when it is whole and current.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from paperlib.files import FileError, write_files

MADE_FROM = "made_from"
Rows = Collection[tuple[Any, ...]]


@dataclass(frozen=True)
class Stamped:
    """How a table is named and checked.

    Attributes:
        keys: columns that name a row; numbers in them have two decimals at most.
        kind: columns of `keys`; rows that agree in them are measured together.
        now: what rows would be made from today, which stands in their column `MADE_FROM`.
        command: that makes the table.
    """

    keys: Sequence[str]
    kind: Sequence[str]
    now: Callable[[pd.DataFrame], Sequence[str]]
    command: str

    def stamped(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows that were just measured, with their stamps."""
        return rows.assign(**{MADE_FROM: self.now(rows)})

    def load(self, file: Path, wanted: Rows) -> pd.DataFrame:
        """A table, without the stamps.

        Args:
            file: CSV.
            wanted: values of `keys` of all its rows, each once.

        Raises:
            FileError: the table is missing or cannot be read, its rows are not those that are
                wanted, or some were made from something else; with the command.
        """
        table = self._read(file)
        if Counter(self._names(table)) != Counter(wanted):
            raise FileError(f"{file}: rows are missing, or more than are asked for: {self.command}")
        if stale := (table[MADE_FROM] != self.now(table)).sum():
            raise FileError(
                f"{file}: {stale} rows are of other sets, weights or sizes: {self.command}"
            )
        return table.drop(columns=MADE_FROM)

    def drop(self, file: Path, wanted: Rows, of: Mapping[str, Any] | None = None) -> None:
        """Take out every kind of rows that is not whole and current.

        Args:
            file: CSV; nothing is done if there is none.
            wanted: as for `load`.
            of: columns of the kind and their values: of the other kinds, those that are wanted are
                kept whatever they are.

        Raises:
            FileError: the table cannot be read.
        """
        if not file.is_file():
            return
        table = self._read(file)
        expected: dict[tuple[Any, ...], Counter[tuple[Any, ...]]] = defaultdict(Counter)
        for name in wanted:
            expected[self._kind(name)][name] += 1
        good = pd.Series(False, table.index)
        for kind, rows in table.groupby(list(self.kind), sort=False):
            as_wanted = kind in expected and Counter(self._names(rows)) == expected[kind]
            current = as_wanted and (rows[MADE_FROM] == self.now(rows)).all()
            other = kind in expected and not _rows_of(rows, of or {}).all()
            good[rows.index] = current or other
        kept = table[good]
        if len(kept) < len(table):
            print(f"{file}: {len(kept)} of {len(table)} rows are kept", flush=True)
            _write(file, kept)

    def add(
        self, file: Path, of: Mapping[str, Any], measured: Callable[..., pd.DataFrame], *given: Any
    ) -> None:
        """Measure, and add the rows to a table, unless it has rows of this kind.

        Args:
            file: CSV.
            of: values of the columns of the kind.
            measured: gives the rows, with bits, method and top1 among the columns.
            given: what `measured` takes.
        """
        if _has(file, of):
            return
        found = self.stamped(measured(*given))
        if _has(file, of):  # another command was faster
            return
        before = _table(file) if file.is_file() else found[:0]
        # Columns without a row have no type, and would take that of the others away.
        _write(file, pd.concat([before, found], ignore_index=True) if len(before) else found)
        means = found.groupby(["bits", "method"]).top1.mean().round(1).to_dict()
        print(*of.values(), means, flush=True)

    def _read(self, file: Path) -> pd.DataFrame:
        if not file.is_file():
            raise FileError(f"{file}: there is no such table: {self.command}")
        try:
            table = _table(file)
        except (OSError, ValueError) as error:
            raise FileError(
                f"{file}: cannot be read ({error}): delete it, then {self.command}"
            ) from None
        if lacking := {MADE_FROM, *self.keys} - set(table):
            raise FileError(
                f"{file}: has no columns {sorted(lacking)}: delete it, then {self.command}"
            )
        if unnamed := table[list(self.keys)].isna().any(axis=1).sum():
            raise FileError(
                f"{file}: {unnamed} rows lack a value of {', '.join(self.keys)}: take them out or "
                f"delete it, then {self.command}"
            )
        return table

    def _names(self, table: pd.DataFrame) -> list[tuple[Any, ...]]:
        return list(table[list(self.keys)].itertuples(index=False, name=None))

    def _kind(self, name: tuple[Any, ...]) -> tuple[Any, ...]:
        values = dict(zip(self.keys, name, strict=True))
        return tuple(values[column] for column in self.kind)


def _table(file: Path) -> pd.DataFrame:
    """A table as it was written: stamps and names such as NA are text, whatever they look like."""
    return pd.read_csv(file, dtype={MADE_FROM: str}, keep_default_na=False, na_values=[""])


def _write(file: Path, table: pd.DataFrame) -> None:
    text = table.to_csv(index=False, float_format="%.2f", lineterminator="\n")
    write_files({file: text.encode()})


def _rows_of(table: pd.DataFrame, of: Mapping[str, Any]) -> pd.Series:
    """Which rows have these values."""
    return (table[list(of)] == pd.Series(of, dtype=object)).all(axis=1)


def _has(file: Path, of: Mapping[str, Any]) -> bool:
    """Whether a table has rows of a kind."""
    return file.is_file() and bool(_rows_of(_table(file), of).any())
