"""README and the pages: every link leads somewhere, and no address is shown that was not set."""

import json
import re
import subprocess
import textwrap

import pytest
from PIL import Image
from skimage import data

from paperlib.names import notebooks
from paperlib.paths import FIGURES, ROOT
from paperlib.pedsam.remote.certificates import make_certificates
from paperlib.pedsam.remote.processes import COMMAND

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def anchors(text):
    """Of the headings, as GitHub makes them, and those that are written out."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = ["".join(found) for found in LINK.findall(text)]
    for link in links:
        if link.startswith(("https://", "http://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        to_come = target.parent == FIGURES / "default" and target.name in notebooks()
        assert target.exists() or to_come, link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_readme_names_every_notebook_and_every_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in notebooks():
        assert f"(notebooks/{name}.ipynb)" in readme
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert f"(docs/{page.name})" in readme


def test_readme_begins_with_what_it_is_the_commands_and_the_verdicts_then_pictures_then_claims():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    order = ["./run_all.sh`", "./run_all.sh test`", "<!-- summary:begin", "<img ", "## The claims"]
    places = [readme.index(part) for part in order]
    assert places == sorted(places)
    assert len(re.sub(r"\]\([^)]*\)", "]", readme[: places[3]]).split()) < 360  # about one screen


def test_the_programs_of_the_page_on_servers_run_as_pasted(tmp_path, monkeypatch, capsys):
    """But for the addresses of the servers, which are of this machine."""
    make_certificates(tmp_path / "certificates", ["localhost"], ["edge"])
    line = [*COMMAND, "--sam", "sam-small", "--copies", "2", "--address", "localhost:0"]
    line += ["--certificates", str(tmp_path / "certificates/servers/localhost")]
    Image.fromarray(data.astronaut()[:240, 100:420]).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/servers.md").read_text(encoding="utf-8")
    programs = [
        textwrap.dedent(found)
        for found in re.findall(r"^ *```python\n(.*?)^ *```", page, re.M | re.S)
    ]
    assert len(programs) == 2
    servers = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        program = "".join(programs)
        for address in ("192.0.2.7:7443", "192.0.2.8:7443"):
            started = json.loads(servers.stdout.readline())["address"]
            assert address in program
            program = program.replace(address, started)
        found = {}
        exec(program, found)
    finally:
        servers.terminate()
        servers.wait(30)
        servers.stdout.close()
    assert set(found["edge"].table().status) == {"OK"}
    assert len(found["edge"].ledger.pictures()) == 4 and found["masks"]
    assert "share" in capsys.readouterr().out
