"""An interrupted run goes on, a damaged file starts anew, another run's is refused."""

import pytest
import torch

from paperlib.models.resume import Resume

RUN = {"recipe": {"steps": 6, "rate": 0.1}, "seed": 3, "start": None}


def adam_steps(path, until, stop=None, start=(1.0, -2.0)):
    """Six steps of Adam, whose running means decide the last of them; the seconds too."""
    x = torch.tensor(start, requires_grad=True)
    adam = torch.optim.Adam([x], 0.1)
    resume = Resume(path, RUN, every=0)
    state = resume.load()
    first = 0
    if state:
        first = state["step"]
        x.data.copy_(state["x"])
        adam.load_state_dict(state["adam"])
    for step in range(first, until):
        if step == stop:
            raise KeyboardInterrupt
        generator = torch.Generator().manual_seed(step)
        (x * torch.randn(2, generator=generator)).sum().square().backward()
        adam.step()
        adam.zero_grad()
        saved = resume.save(
            lambda: {"step": step + 1, "x": x.detach().clone(), "adam": adam.state_dict()}  # noqa: B023
        )
        assert saved == (path is not None)
    resume.finish()
    return x.detach(), first


def interrupted(path):
    with pytest.raises(KeyboardInterrupt):
        adam_steps(path, 6, stop=4)
    return path


def test_a_run_that_goes_on_equals_one_that_was_never_interrupted(tmp_path):
    whole, _ = adam_steps(None, 6)
    path = interrupted(tmp_path / "deep" / "run.pt")
    again, first = adam_steps(path, 6)
    assert first == 4
    assert torch.equal(again, whole)
    assert not path.exists()  # it is finished


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-50],
        flipped,
        lambda content: b"<html>not found</html>",
        lambda content: content.partition(b"\n")[2],
    ],
    ids=["empty", "cut", "one bit", "HTML", "without its fingerprint"],
)
def test_a_damaged_file_is_named_and_starts_anew(tmp_path, capsys, damage):
    path = interrupted(tmp_path / "run.pt")
    path.write_bytes(damage(path.read_bytes()))
    whole, _ = adam_steps(None, 6)
    again, first = adam_steps(path, 6)
    assert first == 0 and torch.equal(again, whole)
    assert f"{path} is damaged" in capsys.readouterr().out


def test_the_file_of_another_run_is_refused_with_what_differs(tmp_path):
    path = interrupted(tmp_path / "run.pt")
    other = RUN | {"recipe": {"steps": 6, "rate": 0.2}, "more": 1}
    with pytest.raises(ValueError, match=r"run\.pt is of another run \(more, recipe differ\)"):
        Resume(path, other).load()
    assert Resume(path, dict(reversed(RUN.items()))).load()["step"] == 4


def test_it_saves_no_more_often_than_asked(tmp_path):
    path = tmp_path / "run.pt"
    resume = Resume(path, RUN, every=3600)
    assert not resume.save(dict) and not path.exists()
    assert resume.load() is None


def test_seconds_go_on_counting(tmp_path, monkeypatch):
    path, now = tmp_path / "run.pt", [100.0]
    monkeypatch.setattr("paperlib.models.resume.time.monotonic", lambda: now[0])
    resume = Resume(path, RUN, every=10)
    now[0] = 150.0
    assert resume.seconds == 50
    assert resume.save(lambda: {"step": 1})
    now[0] = 1000.0
    later = Resume(path, RUN)
    later.load()
    assert later.seconds == 50
    now[0] = 1007.0
    assert later.seconds == 57
