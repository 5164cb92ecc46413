"""The table of the notebooks: what each needs, what decides its values, and where results go.

``notebooks/graph.yaml`` is the table. What decides a notebook's values (its parts):

- its own code, without text, comments and empty lines;
- its parameters, and its row of sizes in the profile;
- the code of every module of paperlib that it imports, and that these import, but for those
  through which no value passes (``…plots`` and `paperlib.code.WITHOUT_VALUES`);
- the files of ``data/`` that the table names, checkpoints among them.
"""

import hashlib
import importlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paperlib.code import code_hash, source_hash, with_imports
from paperlib.files import FileError, fingerprint, read_yaml
from paperlib.names import PROFILES, notebooks
from paperlib.notebook import provenance
from paperlib.notebook.claims import load_claims, problems
from paperlib.notebook.parameters import CHANGES, changed_row
from paperlib.paths import DATA, FIGURES, NOTEBOOKS, ROOT, run_folder

TABLE = NOTEBOOKS / "graph.yaml"


class Row(BaseModel):
    """One notebook's row of the table.

    Attributes:
        package: of paperlib, one a paper.
        memory: of its kernel, in MB, by profile.
        minutes: after which a cluster stops it, by profile.
        data: files that it reads, below ``data/``, with {dataset} to be filled in, or patterns.
        priority: those of higher ones start first.
        clocked: columns of a figure's table, by figure, that a clock measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    package: Annotated[str, Field(min_length=1)]
    memory: dict[str, Annotated[int, Field(gt=0)]]
    minutes: dict[str, Annotated[int, Field(gt=0)]]
    data: Annotated[tuple[str, ...], Field(strict=False)]
    priority: int = 0
    clocked: dict[str, Annotated[tuple[str, ...], Field(strict=False)]] = {}


@dataclass(frozen=True)
class Entry:
    """One notebook: its row, and the claims that it measures.

    Attributes:
        name: of the notebook, without extension.
        row: of the table.
        claims: ids.
    """

    name: str
    row: Row
    claims: tuple[str, ...]

    @property
    def sizes(self) -> Any:
        """The module of sizes of its paper.

        Raises:
            FileError: there is none, or it does not have the notebook.
        """
        file = f"paperlib/{self.row.package}/sizes.py"
        try:
            sizes = importlib.import_module(f"paperlib.{self.row.package}.sizes")
        except ModuleNotFoundError:
            raise FileError(f"{file} is missing; {self.name} needs its sizes there") from None
        for name in ("SIZES", "DATASETS"):
            if self.name not in getattr(sizes, name, {}):
                raise FileError(f"{file}: {name} lacks {self.name}")
        return sizes

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that it takes."""
        return self.sizes.DATASETS[self.name]

    def dataset(self, profile: str) -> str:
        """The data set that a profile stands for."""
        return self.datasets[-1 if profile == "paper" else 0]

    def published(self, profile: str) -> Path:
        """Folder of the committed results."""
        return FIGURES / profile / self.name

    def parts(self, profile: str, dataset: str, seed: int) -> dict[str, str]:
        """What decides the values of a run, each with its hash.

        Raises:
            FileError: the notebook or a file that it needs is missing.
        """
        return Job(self, profile, dataset, seed).parts(self.files(dataset))

    def files(self, dataset: str) -> dict[str, str]:
        """Of what decides the values, the code and the files of ``data/``, each with its hash.

        Raises:
            FileError: the notebook or a file that it needs is missing.
        """
        source = NOTEBOOKS / f"{self.name}.py"
        if not source.is_file():
            raise FileError(f"{source} is missing; {TABLE} lists it")
        code = {file for file in with_imports([source]) if file.name != "sizes.py"}
        data = {file for name in self.row.data for file in _matches(name.format(dataset=dataset))}
        found = {file: code_hash(file) for file in code}
        found |= {file: _content_hash(file) for file in data}
        return {file.relative_to(ROOT).as_posix(): digest for file, digest in found.items()}


@dataclass(frozen=True)
class Job:
    """One run of one notebook.

    Attributes:
        entry: the notebook.
        profile, dataset, seed: its parameters.
        changes: sizes that replace those of the profile's row.
    """

    entry: Entry
    profile: str
    dataset: str
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """Name of the folder that its results go to, with those of other notebooks."""
        return run_folder(self.profile, self.dataset, self.seed, self.changes)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the notebook is given."""
        given = {"profile": self.profile, "dataset": self.dataset, "seed": self.seed}
        return given | ({CHANGES: dict(self.changes)} if self.changes else {})

    def parts(self, files: Mapping[str, str]) -> dict[str, str]:
        """What decides its values, each with its hash; `files` are those of `Entry.files`.

        Raises:
            ParameterError: there is no such size, or it does not take the value.
        """
        row = changed_row(self.entry.sizes.SIZES[self.entry.name], self.profile, self.changes)
        words = [self.profile, self.dataset, str(self.seed)]
        if self.changes:
            words.append(json.dumps(dict(self.changes), sort_keys=True))
        parts = {"parameters": " ".join(words)}
        return dict(sorted((parts | {"sizes": fingerprint(asdict(row))} | files).items()))


def changed_parts(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the parts that differ, are new, or are gone."""
    return tuple(name for name in sorted({*then, *now}) if then.get(name) != now.get(name))


def _matches(pattern: str) -> list[Path]:
    found = sorted(DATA.glob(pattern))
    if not found:
        raise FileError(f"{DATA / pattern} is missing; {TABLE} names it")
    return found


def _content_hash(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def git_state(parts: Mapping[str, str]) -> tuple[str, bool]:
    """The commit of the project, and whether the files among some parts are as committed there.

    Of Python files the code counts: `publish` writes into heads of notebooks what a run took.
    "none" and False where the project is no repository of its own, as in an unpacked archive.
    """
    files = [part for part in parts if "/" in part]
    files += {f"{Path(file).parent}/sizes.py" for file in files if file.startswith("paperlib/")}
    try:
        top, commit = git("rev-parse", "--show-toplevel", "HEAD").split()
        if Path(top).resolve() != ROOT:
            return provenance.NONE, False
        changed = git("diff", "--name-only", "HEAD", "--", *sorted(files)).splitlines()
        new = git("ls-files", "--others", "--exclude-standard", "--", *sorted(files))
        return commit, not new and all(map(_has_committed_code, changed))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return provenance.NONE, False


def _has_committed_code(file: str) -> bool:
    """Whether only text or comments of a changed Python file differ from the last commit."""
    if not file.endswith(".py") or not (ROOT / file).is_file():
        return False
    return source_hash(git("show", f"HEAD:{file}")) == code_hash(ROOT / file)


def git(*words: str) -> str:
    """What git prints of the project, without the blanks around it.

    Raises:
        OSError, subprocess.CalledProcessError: there is no git, or it fails.
    """
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip()


def read_table(table: Path = TABLE) -> dict[str, Entry]:
    """The notebooks, by name, in their order.

    Raises:
        FileError: the table or a claim is wrong; one sentence that names the file and what to
            mend.
    """
    content = read_yaml(table)
    if not isinstance(content, dict):
        raise FileError(f"{table}: expected a row for each notebook")
    rows = {str(name): _row(table, str(name), fields) for name, fields in content.items()}
    there = notebooks()
    for name in rows:
        if name not in there:
            raise FileError(f"{table}: {name}: there is no notebooks/{name}.py")
    for name in there:
        if name not in rows:
            raise FileError(f"{table}: {name} has no row, but notebooks/{name}.py is there")
    measured: dict[str, list[str]] = {}
    for claim in load_claims().values():
        measured.setdefault(claim.notebook, []).append(claim.id)
    return {name: Entry(name, rows[name], tuple(measured.get(name, ()))) for name in there}


def _row(table: Path, name: str, fields: Any) -> Row:
    try:
        row = Row.model_validate(fields)
    except ValidationError as error:
        raise FileError(f"{table}: {name}: {problems(error, 'row')}") from None
    for what, needs in {"memory": row.memory, "minutes": row.minutes}.items():
        if missing := set(PROFILES) - set(needs):
            raise FileError(f"{table}: {name}: {what}: lacks {', '.join(sorted(missing))}")
    return row


def by_priority(table: Mapping[str, Entry]) -> list[str]:
    """Names of the notebooks in the order in which they start where all of them run."""
    return sorted(table, key=lambda name: -table[name].row.priority)
