"""Draws mutants of paperlib by a seed and runs their tests, with cosmic-ray on the PATH.

`python tests/mutants.py SESSION [SEED]`, in a clean checkout, whose files it changes and restores.
SESSION is cosmic-ray's database; where it is there, what is left of it is run. A place in the code
is drawn first, then one of the mutants there: a sum has eleven, a number two. A mutant that ran out
of time is listed as killed by its timeout: look whether it hangs or its tests are slow.
"""

import ast
import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

from paperlib.code import imports
from paperlib.names import ROOT

CONFIG = "tests/mutants.toml"
DRAWN = {  # how many, by where
    "paperlib/freq/": 12,
    "paperlib/d4c/": 12,
    "paperlib/pedsam/": 12,
    "paperlib/(models|data)/": 15,
    "paperlib/(notebook/|files|seeds|code)": 15,
}
# On anything but whole numbers these raise at once, or ask about identity of what is equal.
NO_STAKE = re.compile("BinaryOperator_.*(Shift|BitAnd|BitOr|BitXor)$|_(Is|IsNot)$")
UNSTAKED = "an operator that only raises, or asks for identity"
COLUMNS = "job_id, module_path, operator_name, occurrence, start_pos_row, start_pos_col"


def words(file: str) -> dict[str, list[tuple[int, int, int, int]]]:
    """Places in a file that hold a type or a message: first line and column, last ones."""
    found: dict[str, list] = {"a type annotation": [], "the text of an error": []}
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        types = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        errors = ast.walk(node) if isinstance(node, ast.Raise) else []
        texts = [part for part in errors if isinstance(part, ast.JoinedStr)]
        for name, parts in zip(found, (types, texts), strict=True):
            found[name] += [
                (part.lineno, part.col_offset, part.end_lineno, part.end_col_offset)
                for part in parts
                if isinstance(part, ast.AST)
            ]
    return found


def reason_to_skip(file: str, operator: str, line: int, column: int) -> str | None:
    """Why a mutant would say nothing about the tests; None where it would."""
    for reason, places in words(file).items():
        if any((a, b) <= (line, column) < (c, d) for a, b, c, d in places):
            return reason
    return UNSTAKED if NO_STAKE.search(operator) else None


def draw(session: str, seed: int) -> None:
    """Leave the drawn mutants in cosmic-ray's database, and say what was passed over."""
    database = sqlite3.connect(session)
    rows = database.execute(f"SELECT {COLUMNS} FROM mutation_specs").fetchall()
    rows.sort(key=lambda row: row[1:])
    generator = random.Random(seed)
    kept, skipped = [], Counter()
    for where, count in DRAWN.items():
        places: dict[tuple, list] = {}
        for row in rows:
            if re.match(where, row[1]):
                places.setdefault((row[1], *row[4:]), []).append(row)
        order = generator.sample(sorted(places), len(places))
        taken = 0
        for place in order:
            job, file, operator, _, line, column = generator.choice(places[place])
            reason = reason_to_skip(file, operator, line, column)
            if reason:
                skipped[reason] += 1
                continue
            kept.append(job)
            taken += 1
            if taken == count:
                break
    marks = ",".join("?" * len(kept))
    for table in ("mutation_specs", "work_items"):
        database.execute(f"DELETE FROM {table} WHERE job_id NOT IN ({marks})", kept)
    database.commit()
    print(f"{len(rows)} mutants, {len(kept)} drawn with seed {seed}; skipped: {dict(skipped)}")


def tests_of(file: Path) -> list[list[str]]:
    """Tests that reach a file: its own; then those that import it, and its room's."""
    room = ROOT / "tests" / file.parent.relative_to(ROOT / "paperlib")
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    tests = [test for test in tests if not {"runs", "system"} & set(test.parts)]
    own = [test for test in tests if test == room / f"test_{file.stem}.py"]
    others = [test for test in tests if file in imports(test)]
    others += [test for test in tests if test.parent == room and room.name != "tests"]
    others = [test for test in dict.fromkeys(others) if test not in own]
    return [[str(test) for test in group] for group in (own, others) if group]


def test_what_changed() -> int:
    """Run the tests of the file that differs from the last commit, the nearest first."""
    command = ["git", "diff", "--name-only", "--", "paperlib"]
    changed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    for tests in tests_of(ROOT / changed[0]):
        if code := subprocess.call([sys.executable, "-m", "pytest", "-x", "-q", *tests]):
            return code
    return 0


def main(session: str, seed: int = 2026) -> None:
    """Draw, run and list the mutants."""
    if not Path(session).exists():
        subprocess.run(["cosmic-ray", "init", CONFIG, session], check=True)
        draw(session, seed)
    subprocess.run(["cosmic-ray", "exec", CONFIG, session], check=True)
    table = sqlite3.connect(session).execute(
        "SELECT module_path, start_pos_row, operator_name, test_outcome, output FROM mutation_specs"
        " JOIN work_results USING (job_id) ORDER BY test_outcome, module_path, start_pos_row"
    )
    for file, line, operator, outcome, output in table:
        by = re.findall("^(?:FAILED|ERROR) .*|^timeout$", output, flags=re.MULTILINE)
        print(f"{file}:{line}", operator, outcome, *by[:1])


if __name__ == "__main__":
    if sys.argv[1:] == ["test"]:
        sys.exit(test_what_changed())
    main(sys.argv[1], *map(int, sys.argv[2:]))
