"""CHANGELOG.md: which published numbers changed, and what had changed that decides them.

`publish` writes an entry whenever the values of a published claim are not those that stood there.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from paperlib.files import FileError, write_files
from paperlib.notebook.claims import load_claims, load_measurement
from paperlib.paths import ROOT

FILE = ROOT / "CHANGELOG.md"
TOP = "## Since the last version\n"


def means(folder: Path) -> dict[str, str]:
    """Mean and status of every claim that was measured in a folder, as text."""
    claims = load_claims()
    found = {}
    for file in sorted(folder.glob("claims/*.json")):
        if file.stem not in claims:
            continue
        try:
            measured = load_measurement(file, claims)
        except FileError:  # from earlier code
            found[file.stem] = "in a form that is no longer read"
        else:
            found[file.stem] = f"{measured.mean:.3g}, {claims[file.stem].status(measured)}"
    return found


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """What is to be said of every claim that is not as it was, a line each."""
    said = []
    for claim in sorted({*then, *now}):
        before, after = then.get(claim, "not measured"), now.get(claim, "no longer measured")
        if before != after:
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
