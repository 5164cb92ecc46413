"""How far published values move with threads, and with products of numbers in bfloat16.

    python benchmarks/bench_compare.py [NOTEBOOK ...]

Runs notebooks in the smoke profile three times: with one thread in float32; with one thread where
every matrix product and convolution of torch, in both directions, takes its numbers rounded to
bfloat16 and adds in float32, as processors do that have such products; and with two threads in
float32. Then compares the second and the third run with the first, as ``./run_all.sh compare``
does, and prints for each

- how many values of how many are out of tolerance, and which parts they are of;
- how far off the farthest one within the claims and within the figures is, in tolerances.

torch's own switches do not round on every processor: what two of them do to a product on this one
is printed first, beside the rounding that is used here. Servers that a notebook starts are
processes of their own and stay in float32, so notebooks 6 to 9 are left out.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paperlib.paths import ROOT
from paperlib.runs.compare import Comparison, Part, lines, verdict
from paperlib.runs.table import read_table

NOTEBOOKS = ("01_spectrum", "15_your_model", "10_limits")
RUN = "smoke-openmoji-seed0"
STARTUP = f"""import sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import bench_compare
bench_compare.Rounded().__enter__()
"""
aten = torch.ops.aten
PRODUCTS = {
    *(aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.mv, aten.addmv, aten.dot),
    *(aten.convolution, aten.convolution_backward),
    *(aten._scaled_dot_product_flash_attention_for_cpu, aten.linear),
}


class Rounded(TorchDispatchMode):
    """Products take float32 rounded to bfloat16; all else stays in float32."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Called by torch for every operation."""
        if function.overloadpacket in PRODUCTS:
            args = [rounded(value) for value in args]
        return function(*args, **(kwargs or {}))


def rounded(value: object) -> object:
    """A tensor of float32 with the nearest numbers that bfloat16 has; anything else as it is."""
    if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
        return value.to(torch.bfloat16).to(torch.float32)
    return value


ERROR = """
import torch
torch.manual_seed(0)
a, b = torch.randn(2, 256, 256)
{change}
error = (a @ b).double() - a.double() @ b.double()
print(f"{{(error.norm() / (a.double() @ b.double()).norm()).item():.1e}}")
"""


def error(change: str, **environment: str) -> str:
    """Relative error of a product of two matrices in a new process."""
    words = [sys.executable, "-c", ERROR.format(change=change)]
    given = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(words, env=given, check=True, capture_output=True, text=True).stdout[:-1]


def run(names: list[str], outputs: Path, **environment: str) -> Path:
    """Run notebooks with an environment; returns the folder of the results.

    One that fails, which the graph says, has none there.
    """
    words = [sys.executable, "-m", "paperlib.runs.graph", "--profile", "smoke", "--jobs", "1"]
    words += [word for name in names for word in ("--only", name)]
    given = os.environ | {"PYTHONPATH": str(ROOT), "PAPERLIB_OUTPUTS": str(outputs)} | environment
    subprocess.run(words, env=given, cwd=ROOT, check=False)
    return outputs / RUN


def farthest(parts: list[Part], kind: str) -> float:
    """Largest distance in tolerances among claims or figures."""
    return max((part.farthest for part in parts if part.name.startswith(kind)), default=0.0)


def main() -> None:
    """The command."""
    names = sys.argv[1:] or [*NOTEBOOKS]
    print("relative error of a product of matrices")
    medium = 'torch.set_float32_matmul_precision("medium")'
    ours = "import bench_compare; bench_compare.Rounded().__enter__()"
    path = os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT)])
    print("  as it is                        ", error(""))
    print("  ONEDNN_DEFAULT_FPMATH_MODE=BF16 ", error("", ONEDNN_DEFAULT_FPMATH_MODE="BF16"))
    print("  matmul precision medium         ", error(medium))
    print("  rounded here                    ", error(ours, PYTHONPATH=path))
    with tempfile.TemporaryDirectory() as place:
        startup = Path(place) / "ipython/profile_default/startup"
        startup.mkdir(parents=True)
        (startup / "00-rounded.py").write_text(STARTUP)
        first = run(names, Path(place) / "float32")
        given = {
            "bfloat16": {"IPYTHONDIR": f"{place}/ipython"},
            "two threads": {"PAPERLIB_THREADS": "2"},
        }
        for what, environment in given.items():
            folder = run(names, Path(place) / what.replace(" ", "_"), **environment)
            found = Comparison.of([folder], read_table(), first)
            far = [f"{kind}s {farthest([*found.parts], kind):.3g}" for kind in ("claim", "figure")]
            print(f"\n{what}: {verdict(found.parts)[1]}", *lines(found.parts), sep="\n")
            print(f"  farthest off, in tolerances: {', '.join(far)}", flush=True)


if __name__ == "__main__":
    main()
