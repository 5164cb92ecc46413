"""The Compose file and the image start the server as it can be started, from files that exist."""

import re

import pytest
import yaml

from paperlib.paths import ROOT
from paperlib.pedsam.remote.server import _parser

DEPLOY = ROOT / "paperlib/pedsam/remote/deploy"
SERVICES = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def filled(text):
    """With the defaults of the variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_services(service):
    options = _parser().parse_args([filled(word) for word in service["command"]])
    assert options.sam == "sam-small" and not options.insecure
    (volume,) = service["volumes"]
    host, container, mode = filled(volume).split(":")
    assert (DEPLOY / host).resolve() == ROOT / "certificates/servers/localhost"
    assert container == str(options.certificates) and mode == "ro"
    (port,) = service["ports"]
    assert options.address.split(":")[1] == port.split(":")[1]
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_ports_of_the_host_differ():
    ports = [service["ports"][0].split(":")[0] for service in SERVICES.values()]
    assert ports == ["7441", "7442", "7443", "7444"]


def test_the_image_copies_what_the_package_needs():
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [line.split()[2:-1] for line in text.splitlines() if line.startswith("COPY")]
    names = {name for line in copied for name in line}
    assert all((ROOT / name).exists() for name in names)
    assert {
        "environment.yml",
        "requirements-cpu.lock",
        "pyproject.toml",
        "paperlib",
        "data",
    } <= names
    assert _parser().prog in " ".join(re.findall(r'"([^"]*)"', text.split("ENTRYPOINT")[1]))
