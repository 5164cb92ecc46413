#!/usr/bin/env bash
# The one entry: sets up what is missing, then runs. ./run_all.sh --help says how.
set -euo pipefail

called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD

usage() {
  cat <<END
Usage: ./run_all.sh [COMMAND] [OPTION VALUE]...

Without a command: runs every notebook that is not up to date, writes figures and claims to
outputs/ (and, for a standard run, to figures/ and README.md), and prints the scorecard.

Commands:
  test     check, unit tests, and every notebook executed as a test
  check    lint, format, notebooks paired with their .py, graph, README's scorecard
  lab      open JupyterLab on the first notebook; what follows goes to jupyter lab
  publish  run the default profile and write its outputs into notebooks/*.ipynb

Options of the run:
  --profile P   one of ${profiles[*]}; without it: default
  --dataset D   one of ${datasets[*]}: the notebooks that take it;
                without it: openmoji, in profile paper the real data of each notebook
  --only NAME   one notebook of ${notebooks[*]:-}
  --seed N      a whole number; without it: 0
  --help        this text

Python and all packages go to .venv, or come from the active conda environment if it has what
requirements.lock says. Real data is found as README.md says.
END
}

die() {
  echo "run_all.sh: $*" >&2
  exit 2
}

# require WHAT VALUE VALID...: fail unless VALUE is one of VALID
require() {
  local what=$1 value=$2 valid
  shift 2
  for valid; do [[ $value != "$valid" ]] || return 0; done
  die "$what '$value': valid are $*"
}

profiles=(smoke default paper)
datasets=(openmoji cifar10 photographs coco)
notebooks=()
for file in notebooks/[0-9]*.py; do
  [[ ! -e $file ]] || notebooks+=("$(basename "$file" .py)")
done

command=run
case ${1:-} in
  --* | '') ;;
  -h) usage && exit ;;
  *)
    require command "$1" test check lab publish
    command=$1
    shift
    ;;
esac

arguments=()
while [[ $command != lab && $# -gt 0 ]]; do
  [[ $1 != --help ]] || { usage && exit; }
  [[ $command == run ]] || die "$command takes no options, found '$1'"
  require option "$1" --profile --dataset --only --seed --help
  [[ $# -ge 2 ]] || die "$1 needs a value"
  case $1 in
    --profile) require --profile "$2" "${profiles[@]}" ;;
    --dataset) require --dataset "$2" "${datasets[@]}" ;;
    --only) require --only "$2" "${notebooks[@]:-}" ;;
    --seed)
      [[ $2 =~ ^(0|[1-9][0-9]{0,9})$ ]] && (($2 < 2 ** 32)) ||
        die "--seed '$2': valid are whole numbers, 0 to $((2 ** 32 - 1))"
      ;;
  esac
  arguments+=("$1" "$2")
  shift 2
done

for name in OUTPUTS CACHE CIFAR10 CIFAR100 PHOTOGRAPHS COCO SAM CLIP; do
  name=PAPERLIB_$name
  case ${!name:-/} in
    /*) ;;
    *) export "$name=$called_from/${!name}" ;; # notebooks run in another folder
  esac
done

# usable PYTHON: whether it runs and is a version that we support
usable() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# has_pins PYTHON: whether its packages are those of requirements.lock
has_pins() {
  "$1" - requirements.lock 2>/dev/null <<'END'
import importlib.metadata
import sys
from packaging.requirements import Requirement

installed = {}
for distribution in importlib.metadata.distributions():
    name = distribution.metadata["Name"].lower().replace("_", "-")
    installed.setdefault(name, distribution.version)
for line in open(sys.argv[1]):
    if line.strip() and not line.startswith("#"):
        pin = Requirement(line)
        version = installed.get(pin.name.lower().replace("_", "-"))
        if (pin.marker is None or pin.marker.evaluate()) and version not in pin.specifier:
            sys.exit(1)
END
}

# Sets `python`. The stamp holds what .venv was made from; without it an installation that was
# broken off goes on where it was.
set_up() {
  local stamp=.venv/made-from candidate base=
  if [[ -n ${CONDA_PREFIX:-} ]] && usable "$CONDA_PREFIX/bin/python" &&
    has_pins "$CONDA_PREFIX/bin/python"; then
    python=$CONDA_PREFIX/bin/python
    return
  fi
  python=$root/.venv/bin/python
  if cat requirements.lock pyproject.toml | cmp -s - "$stamp" && usable "$python"; then
    return
  fi
  rm -f "$stamp"
  if ! usable "$python"; then
    for candidate in python3.11 python3.12 python3.13 python3 python; do
      if usable "$candidate"; then base=$candidate && break; fi
    done
    [[ -n $base ]] || die "no Python 3.11, 3.12 or 3.13 on the PATH"
    echo "Making .venv with $("$base" --version)" >&2
    "$base" -m venv --clear .venv
  fi
  echo "Installing the packages of requirements.lock into .venv; the first time takes minutes" >&2
  local quiet=--quiet
  [[ ! -t 2 ]] || quiet=
  "$python" -m ensurepip >/dev/null # does nothing where pip is
  "$python" -m pip install $quiet --disable-pip-version-check -r requirements.lock
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
  cat requirements.lock pyproject.toml >"$stamp"
}

# step WHAT COMMAND...: run it, say how it went, and remember a failure
failed=0
step() {
  local what=$1
  shift
  if "$@"; then echo "$what: ok"; else
    echo "$what: FAILED" >&2
    failed=1
  fi
}

check() {
  step lint "$python" -m ruff check --quiet --output-format concise .
  step format "$python" -m ruff format --check --quiet .
  step "pairing and graph" "$python" -m pytest -q --no-header --tb=line tests/runs/test_pairing.py tests/runs/test_table.py
  step scorecard "$python" -m paperlib.runs.scorecard check README.md
}

run_tests() {
  outputs=$(mktemp -d)
  trap 'rm -rf "$outputs"' EXIT
  export OMP_NUM_THREADS=1
  check
  step "unit tests" "$python" -m pytest -q -n auto --dist loadfile --benchmark-skip \
    --ignore tests/runs/test_pairing.py tests/runs/test_table.py tests
  PAPERLIB_OUTPUTS=$outputs PAPERLIB_BATCH=1 step "notebooks" "$python" -m pytest -q -n auto \
    --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout=2400 notebooks
}

set_up
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export JUPYTER_PREFER_ENV_PATH=1 # this environment's kernel, not one of the user's

if [[ -t 2 && ($command == run || $command == publish) ]]; then
  PAPERLIB_TTY=$(tty <&2) # where bars go while a person watches
  export PAPERLIB_TTY
fi

case $command in
  run) exec "$python" -m paperlib.runs.graph "${arguments[@]+"${arguments[@]}"}" ;;
  publish)
    "$python" -m paperlib.runs.graph
    exec "$python" -m paperlib.runs.publish
    ;;
  lab)
    exec "$python" -m jupyterlab "notebooks/${notebooks[0]}.ipynb" \
      --ServerApp.root_dir="$root" "$@"
    ;;
  check) check ;;
  test) run_tests ;;
esac
exit $failed
