"""What README's table says of a notebook: its question, and links to the claims it measures."""

import re
from collections.abc import Sequence
from pathlib import Path

from paperlib.files import FileError
from paperlib.runs.scorecard import NONE


def question(notebook: Path) -> str:
    """What a notebook's head asks, or its title where it asks nothing.

    Raises:
        FileError: it is missing.
    """
    if not notebook.is_file():
        raise FileError(f"{notebook}: no such file")
    text = notebook.read_text(encoding="utf-8")
    found = re.search(r"^# \*\*Question\.\*\* (.*?)\n(?!# [^%])", text, re.M | re.S)
    found = found or re.search(r"^# # (?:\d+ · )?(.*)$", text, re.M)
    return re.sub(r"\n# ", " ", found[1]) if found else NONE


def claim_links(ids: Sequence[str]) -> str:
    """Links to claims on their page, by the words of their ids.

    Without the paper and the number of its claim; what differs in the last word alone stands
    together: "d4c-3-pae-vit" and "d4c-3-pae-resnet" become "pae (vit, resnet)".
    """
    groups: dict[str, dict[str, str]] = {}
    for key in ids:
        *first, last = re.sub(r"^[^-]+-(\d+-)?", "", key).split("-")
        groups.setdefault(" ".join(first), {})[last] = f"docs/claims.md#{key}"
    shown = []
    for first, found in groups.items():
        if first and len(found) > 1:
            links = [f"[{last}]({link})" for last, link in found.items()]
            shown.append(f"{first} ({', '.join(links)})")
        else:
            shown += [f"[{f'{first} {last}'.strip()}]({link})" for last, link in found.items()]
    return ", ".join(shown)
