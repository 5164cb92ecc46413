import csv
import json
import math
import shlex
import subprocess
import sys
import time

import psutil
import pytest

from paperlib.freq import zoo
from paperlib.freq.variants import checkpoint_name
from paperlib.freq.zoo_evidence import FOLDER
from paperlib.freq.zoo_training import RINGS, TABLES, pack
from paperlib.models.checkpoints import load_checkpoint


def table(folder, name):
    with (folder / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("card", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_card_s_command_trains_that_network_elsewhere(card):
    about = json.loads(card.read_text())
    python, flag, module, *arguments = shlex.split(about["command"])
    assert (python, flag, module) == ("python", "-m", zoo.__spec__.name)
    options = zoo.parser().parse_args(arguments)
    trained = checkpoint_name(options.dataset, *options.architectures, *options.variants)
    assert trained == card.stem and options.epochs == about["recipe"]["epochs"]
    assert options.folder.resolve() != FOLDER  # where its row keeps it from being trained


def test_what_an_interruption_left_over_is_removed(tmp_path, job):
    whole, torn = job(0).key, job(1).key
    for name in TABLES[:-1]:
        zoo._append(tmp_path / f"{name}.csv", [whole | {"value": 0.5}, torn | {"value": 0.25}])
    zoo._append(tmp_path / "trainings.csv", [whole | {"accuracy": 1 / 3, "robust_2": 0.0}])
    with (tmp_path / "trainings.csv").open("a") as file:
        file.write("openmoji,resnet20,natural,1,0.")
    assert zoo.done(tmp_path) == {("openmoji", "resnet20", "natural", "0")}
    for name in TABLES:
        assert [row["training"] for row in table(tmp_path, name)] == ["0"]
    zoo._append(tmp_path / "trainings.csv", [torn | {"accuracy": 0.5, "robust_2": 0.0}])
    assert [row["accuracy"] for row in table(tmp_path, "trainings")] == ["0.333333", "0.5"]


def test_a_training_that_fails_does_not_end_the_others(tmp_path, job):
    source = tmp_path / "images.npz"
    assert zoo._in_time(0, job(), source, tmp_path, "") is None  # too late
    assert "images.npz" in zoo._in_time(math.inf, job(), source, tmp_path, "")


def test_a_worker_ends_with_the_command_that_is_killed(tmp_path):
    script, begun = tmp_path / "main.py", tmp_path / "begun"
    script.write_text(
        "import os, pathlib, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from paperlib.freq.zoo import _begin\n"
        "def work():\n"
        f"    pathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    with ProcessPoolExecutor(1, get_context('spawn'), _begin) as pool:\n"
        "        pool.submit(work).result()\n"
    )
    with subprocess.Popen([sys.executable, str(script)]) as command:
        while not (begun.exists() and begun.read_text()):
            assert command.poll() is None
            time.sleep(0.1)
        worker = psutil.Process(int(begun.read_text()))
        assert worker.is_running()
        command.kill()
    assert psutil.wait_procs([worker], timeout=30)[0]


def test_the_command_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys, noise):
    pack(tmp_path / "images.npz", noise(256, 3), noise(20, 4))
    folder = tmp_path / "new" / "zoo"  # neither is there
    words = "--dataset openmoji --architectures resnet20 --variants natural --epochs 1 --attacked 2"
    words += f" --occluded 1 --images {tmp_path / 'images.npz'} --folder {folder} --commit abc"

    def command(more):
        monkeypatch.setattr(sys, "argv", ["zoo", *words.split(), *more.split()])
        with pytest.raises(SystemExit) as end:
            zoo.main()
        assert end.value.code == 0

    command("--trainings 1 --minutes 0")
    assert not (folder / "trainings.csv").exists()
    command("--trainings 1")
    first = (folder / "trainings.csv").read_text()
    command("--trainings 3 --workers 2")
    assert (folder / "trainings.csv").read_text().startswith(first)
    rows = table(folder, "trainings")
    assert sorted(row["training"] for row in rows) == ["0", "1", "2"]
    assert {row["commit"] for row in rows} == {"abc"}
    assert len(table(folder, "curves")) == 3 * RINGS
    (weights,) = folder.glob("*.safetensors")
    model = load_checkpoint(weights.stem, folder)
    test = noise(20, 4)
    right = (model(test.floats()).argmax(-1) == test.labels).float().mean().item()
    assert float(rows[0]["accuracy"]) == pytest.approx(right, abs=1e-5)
