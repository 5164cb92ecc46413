"""Many small networks, trained and measured alike: is one that uses low frequencies more robust?

``python -m paperlib.freq.zoo --help`` trains what the tables in a folder lack
(`paperlib.freq.zoo_recipes` has the variants, `paperlib.freq.zoo_training` what is measured). It
adds one row a training to ``trainings.csv``, one a ring of radius to ``curves.csv``, one an image
to ``images.csv``, and keeps the weights of training 0. The number of the training runs slowest, so
that a command that is stopped leaves every variant with nearly as many trainings.
"""

import argparse
import csv
import io
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from paperlib.files import write_files
from paperlib.freq.variants import load_images
from paperlib.freq.zoo_recipes import RECIPES, VARIANTS
from paperlib.freq.zoo_training import TABLES, Job, pack, run
from paperlib.names import LABELLED, ROOT
from paperlib.runtime import set_threads


def done(folder: Path) -> set[tuple[str, ...]]:
    """Keys of the trainings in a folder's tables; rows that an interruption left over are removed.

    `TABLES` are appended to in their order, so that a training in the last is whole in all.
    """
    whole: set[tuple[str, ...]] = set()
    for name in reversed(TABLES):
        path = folder / f"{name}.csv"
        if not path.exists():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if name == TABLES[-1]:
            whole = {_key(row) for row in rows if None not in row.values()}
        kept = [row for row in rows if _key(row) in whole and None not in row.values()]
        if len(kept) < len(rows):
            write_files({path: _text(kept, list(rows[0])).encode()})
    return whole


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("dataset", "architecture", "variant", "training"))


def _append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows to a table, and see that they are on the disk."""
    with path.open("a", newline="", encoding="utf-8") as file:
        file.write(_text(rows, None if file.tell() else list(rows[0])))
        file.flush()
        os.fsync(file.fileno())


def _text(rows: Sequence[dict[str, Any]], header: list[str] | None) -> str:
    """Lines of CSV, numbers with six digits."""
    lines = [header] if header else []
    lines += [[f"{v:.6g}" if isinstance(v, float) else v for v in row.values()] for row in rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _in_time(
    deadline: float, job: Job, *arguments: Any
) -> dict[str, list[dict[str, Any]]] | str | None:
    """`run`, or None once the deadline is over, or what went wrong: the others still count."""
    if time.time() > deadline:
        return None
    try:
        return run(job, *arguments)
    except Exception:
        return traceback.format_exc()


def _begin() -> None:
    """Settings of a process that trains and measures: full single precision where it matters.

    It ends with the process that began it, however that ends.
    """
    set_threads()
    torch.backends.cudnn.allow_tf32 = False
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)


def train_all(
    jobs: Sequence[Job], source: Path, folder: Path, commit: str, workers: int, deadline: float
) -> int:
    """Run jobs in order, several at a time, and write each result at once; how many failed.

    Args:
        deadline: seconds since 1970 after which no job is begun.
        jobs, source, folder, commit: as of `run`.
    """
    failed = finished = 0
    began = time.time()
    spawn = get_context("spawn")  # CUDA does not work in a forked process
    with ProcessPoolExecutor(workers, spawn, _begin) as pool:
        futures = {pool.submit(_in_time, deadline, j, source, folder, commit): j for j in jobs}
        for future in as_completed(futures):
            result, job = future.result(), futures[future]
            if result is None:
                continue
            if isinstance(result, str):
                failed += 1
                print(f"{job.key} failed:\n{result}", file=sys.stderr, flush=True)
                continue
            for name in TABLES:
                _append(folder / f"{name}.csv", result[name])
            finished += 1
            row = result["trainings"][0]
            print(
                f"{finished}/{len(jobs)} {time.time() - began:.0f} s: {' '.join(_key(row))} "
                f"{row['accuracy']:.3f} {row['robust_2']:.3f} {row['robust_8']:.3f} "
                f"low {row['low_logit']:.3f}, {row['training_seconds']} + "
                f"{row['measuring_seconds']} s",
                flush=True,
            )
    return failed


def parser() -> argparse.ArgumentParser:
    """Of the command line; a card's command is one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", choices=LABELLED, required=True)
    parser.add_argument(
        "--folder", type=Path, default=Path("freq_zoo"), help="of the tables and weights"
    )
    parser.add_argument("--trainings", type=int, default=5, help="of every variant")
    architectures = sorted({architecture for _, architecture in RECIPES})
    parser.add_argument("--architectures", nargs="+", choices=architectures, default=architectures)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=Path, help="file with both splits, as this writes it")
    parser.add_argument("--attacked", type=int, default=Job.attacked, help="images a network")
    parser.add_argument("--occluded", type=int, default=Job.occluded, help="images a network")
    parser.add_argument("--workers", type=int, default=1, help="networks at a time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin none later")
    parser.add_argument("--commit", default=os.environ.get("PAPERLIB_COMMIT"))
    return parser


def main() -> None:
    options = parser().parse_args()
    deadline = time.time() + 60 * options.minutes
    options.folder.mkdir(parents=True, exist_ok=True)
    there = done(options.folder)
    jobs = []
    for training in range(options.trainings):
        for variant in options.variants:
            for architecture in options.architectures:
                recipe = RECIPES[options.dataset, architecture]
                recipe = replace(recipe, epochs=options.epochs or recipe.epochs)
                names = (options.dataset, architecture, variant, training)
                sizes = (options.seed, options.attacked, options.occluded)
                job = Job(*names, recipe, *sizes)
                if _key(job.key) not in there:
                    jobs.append(job)
    with tempfile.TemporaryDirectory() as temporary:
        source = options.images or Path(temporary) / "images.npz"
        if not source.exists():
            pack(source, *(load_images(options.dataset, split) for split in ("train", "test")))
        commit = options.commit or _commit()
        failed = train_all(jobs, source, options.folder, commit, options.workers, deadline)
    print(f"{len(done(options.folder))} trainings in {options.folder}, {failed} failed")
    sys.exit(bool(failed))


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    main()
