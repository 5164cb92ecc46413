import pytest


@pytest.fixture
def nothing_from_this_machine(monkeypatch, tmp_path):
    """An empty cache, no variables, and no way to the network."""
    monkeypatch.setenv("PAPERLIB_CACHE", str(tmp_path / "cache"))
    for name in ("PAPERLIB_CIFAR10", "PAPERLIB_CIFAR100"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
