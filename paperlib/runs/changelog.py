"""CHANGELOG.md: which published numbers changed, and what had changed that decides them.

`publish` writes an entry whenever the values of a published claim are not those that stood there.
The status of an old value is by the claim as it stood when the value was published, whatever the
check is today; where that can no longer be read, the old value stands without a status.
"""

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from paperlib.files import FileError, write_files
from paperlib.notebook.claims import Claim, load_claims, load_measurement
from paperlib.paths import CLAIMS, ROOT
from paperlib.runs.table import git

FILE = ROOT / "CHANGELOG.md"
TOP = "## Since the last version\n"


def means(folder: Path, stated: Mapping[str, Claim] | None = None) -> dict[str, str]:
    """Mean and status of every claim that was measured in a folder, as text.

    Args:
        folder: of a notebook's results.
        stated: the claims whose checks decide the status, which a claim that is not among them does
            not get; those of today if None.
    """
    claims = load_claims()
    stated = claims if stated is None else stated
    found = {}
    for file in sorted(folder.glob("claims/*.json")):
        if file.stem not in claims:
            continue
        try:
            measured = load_measurement(file, claims)
        except FileError:  # from earlier code
            found[file.stem] = "in a form that is no longer read"
            continue
        found[file.stem] = f"{measured.mean:.3g}"
        if own := stated.get(file.stem):
            found[file.stem] += f", {own.status(measured)}"
            if own.check != claims[file.stem].check:
                found[file.stem] += f" (the check was {own.check})"
    return found


def stated_then(folder: Path) -> dict[str, Claim]:
    """The claims as they stood when a folder of figures/ was last published.

    That is in the commit that has the folder as it is, or in the last one if none has it yet. None
    are returned where they cannot be read: without a repository, or in a form of earlier code.
    """
    try:
        changed = git("status", "--porcelain", "--", str(folder))
        commit = "HEAD" if changed else git("log", "-1", "--format=%H", "--", str(folder))
        place = CLAIMS.relative_to(ROOT).as_posix()
        names = git("ls-tree", "--name-only", commit, f"{place}/").split("\n")
        with TemporaryDirectory() as there:
            for name in names:
                text = git("show", f"{commit}:./{name}")
                Path(there, Path(name).name).write_text(text, encoding="utf-8")
            return load_claims(Path(there))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return {}


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """What is to be said of every claim that is not as it was, a line each.

    A status that is not known of then is no difference.
    """
    said = []
    for claim in sorted({*then, *now}):
        before, after = then.get(claim, "not measured"), now.get(claim, "no longer measured")
        if before not in (after, after.rpartition(", ")[0]):
            said.append(f"`{claim}`: {before} → {after}")
    return said


def together(names: Sequence[str]) -> list[str]:
    """The names, but of more than three files in a folder only the folder and their number."""
    folders = Counter(name.rpartition("/")[0] for name in names)
    said = []
    for name in names:
        folder = name.rpartition("/")[0]
        many = folder and folders[folder] > 3
        said.append(f"{folder}/ ({folders[folder]} files)" if many else name)
    return list(dict.fromkeys(said))


def note(
    notebook: str,
    profile: str,
    why: Sequence[str],
    said: Sequence[str],
    because: Sequence[str] = (),
) -> None:
    """Write an entry below `TOP`, the newest first; none where nothing is to be said.

    Args:
        notebook, profile: whose numbers changed.
        why: what decides them and had changed (see `paperlib.runs.table.changed_parts`).
        said: what `differences` gave.
        because: reasons in the publisher's words; one that begins with the name of a claim and a
            colon stands behind that claim alone, the others behind the notebook.
    """
    if not said:
        return
    parts = together(why)
    few = ", ".join(parts[:5]) + (f" and {len(parts) - 5} more" if len(parts) > 5 else "")
    reasons: dict[str, list[str]] = {}
    claims = {*load_claims(), *(one.split("`")[1] for one in said)}
    for words in because:
        claim, colon, rest = words.partition(": ")
        own = colon and claim in claims
        reasons.setdefault(claim if own else "", []).append(rest if own else words)
    entry = [f"- {notebook}, {profile} profile; changed: {few or 'nothing that is recorded'}"]
    entry[0] += "".join(f"; because: {words}" for words in reasons.get("", []))
    entry += [
        f"  - {one}" + "".join(f"; {words}" for words in reasons.get(one.split("`")[1], []))
        for one in said
    ]
    text = FILE.read_text(encoding="utf-8") if FILE.is_file() else "# Changes\n"
    before, top, after = text.partition(TOP)
    body = "\n".join(entry)
    write_files({FILE: f"{before.rstrip()}\n\n{TOP}\n{body}\n{after if top else ''}".encode()})
