#!/usr/bin/env bash
# The one entry: sets up what is missing, then hands on. ./run_all.sh --help says how.
set -euo pipefail

pythons=(3.11 3.12 3.13) # that pyproject.toml allows
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD

die() {
  echo "run_all.sh: $*" >&2
  exit 2
}

# runs PYTHON FIRST LAST: whether it runs and its version is from FIRST to LAST, such as 3.9
runs() {
  "$1" -c 'import sys
first, last = (tuple(map(int, word.split("."))) for word in sys.argv[1:])
sys.exit(not first <= sys.version_info[:2] <= last)' "$2" "$3" 2>/dev/null
}

usable() { runs "$1" "${pythons[0]}" "${pythons[${#pythons[@]} - 1]}"; }

export PYTHONUTF8=1 # in every locale: what is read, written and printed
unset PYTHONIOENCODING
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

# Options are checked by any Python, before anything is set up.
any=
for candidate in .venv/bin/python "${pythons[@]/#/python}" python3 python; do
  if runs "$candidate" 3.9 3.99; then any=$candidate && break; fi
done
[[ -n $any ]] || die "needs Python ${pythons[0]} or newer: none is on the PATH"
code=0
words=$(PAPERLIB_CALLED_FROM=$called_from "$any" -m paperlib.runs.options "$@") || code=$?
if [[ $code == 3 ]]; then echo "$words" && exit; fi # --help and the like
[[ $code == 0 ]] || exit $code
command=() # a word a line
while IFS= read -r word; do command+=("$word"); done <<<"$words"
options=("${command[@]:1}")

for name in "${!PAPERLIB_@}"; do
  case $name:${!name:-/} in
    *:/* | PAPERLIB_THREADS:* | PAPERLIB_DEVICE:* | PAPERLIB_PROFILE:* | PAPERLIB_BATCH:*) ;;
    *) export "$name=$called_from/${!name}" ;; # a path, and notebooks run in another folder
  esac
done

# has_pins PYTHON: whether its packages are those of the lock; with CUDA or without
has_pins() { "$1" -m paperlib.runs.doctor --pins >/dev/null 2>&1; }

# Sets `python` to that of the active environment, if that has what is needed.
active() {
  local candidate
  for candidate in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
    python=$candidate/bin/python
    if [[ -n $candidate ]] && usable "$python" && has_pins "$python"; then return; fi
  done
  return 1
}

# Sets `python`. The stamp holds what .venv was made from; without it an installation that was
# broken off goes on where it was.
set_up() {
  local stamp=.venv/made-from candidate base=
  if active; then return; fi
  python=$root/.venv/bin/python
  if cat requirements.lock pyproject.toml | cmp -s - "$stamp" && usable "$python"; then
    return
  fi
  rm -f "$stamp"
  if ! usable "$python"; then
    for candidate in "${pythons[@]/#/python}" python3 python; do
      if usable "$candidate"; then base=$candidate && break; fi
    done
    [[ -n $base ]] || die "no Python of ${pythons[*]} is on the PATH: install one (for" \
      "example: apt install python3-venv, brew install python@3.13, conda env create," \
      "pyenv install 3.13), then start this again"
    echo "Making .venv with $("$base" --version)" >&2
    "$base" -m venv --clear .venv
  fi
  echo "Installing the packages of requirements.lock into .venv; the first time takes minutes" >&2
  local quiet=--quiet
  [[ ! -t 2 ]] || quiet=
  "$python" -m ensurepip >/dev/null # does nothing where pip is
  "$python" -m pip install $quiet --disable-pip-version-check --require-hashes -r requirements.lock
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

run_pytest() { "$python" -m pytest -q -n auto --dist loadfile "$@"; }

checked=(tests/test_layout.py tests/runs/test_pairing.py tests/runs/test_table.py)

check() {
  step lint "$python" -m ruff check --quiet --output-format concise .
  step format "$python" -m ruff format --check --quiet .
  step "layout, pairing and table" "$python" -m pytest -q --no-header --tb=line "${checked[@]}"
  step published "$python" -m paperlib.runs.check "$@"
}

# The longest first, so that no core waits for it at the end. A cell has a limit, not a notebook.
run_notebooks() {
  local name files=()
  while IFS= read -r name; do files+=("notebooks/$name.ipynb"); done < <("$python" -c \
    'from paperlib.runs.table import by_priority, read_table; print(*by_priority(read_table()), sep="\n")')
  [[ ${#files[@]} -gt 0 ]] || return
  run_pytest --no-loadscope-reorder --nbval-lax --nbval-current-env --nbval-cell-timeout=2400 \
    --timeout 0 "${files[@]}"
}

run_tests() {
  outputs=$(mktemp -d)
  trap 'rm -rf "$outputs"' EXIT
  check
  step "unit tests" run_pytest --benchmark-skip --ignore tests/system \
    "${checked[@]/#/--ignore=}" tests
  PAPERLIB_OUTPUTS=$outputs PAPERLIB_BATCH=1 step notebooks run_notebooks
}

# Debian's packages that tests/system needs: installed by root, named to everybody else.
install_debian() {
  local package missing=()
  while read -r package; do
    dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q ' installed' ||
      missing+=("$package")
  done < <(grep -v '^#' tests/system/packages.txt)
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    die "test system needs root and these packages of Debian: ${missing[*]}"
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}"
}

if [[ ${command[0]} == doctor ]]; then # before anything is installed, too
  active || python=$any
  exec "$python" -m paperlib.runs.doctor
fi
[[ ${command[*]} != "test system" ]] || install_debian
set_up
export JUPYTER_PREFER_ENV_PATH=1 # this environment's kernel, not one of the user's
for name in OMP OPENBLAS MKL NUMEXPR; do
  export "${name}_NUM_THREADS=${PAPERLIB_THREADS:-1}"
done
if [[ -t 2 && (${command[0]} == run || ${command[0]} == sweep || ${command[0]} == publish) ]]; then
  PAPERLIB_TTY=$(tty <&2) # where bars go while a person watches
  export PAPERLIB_TTY
fi

case ${command[*]} in
  run*) exec "$python" -m paperlib.runs.graph "${options[@]+"${options[@]}"}" ;;
  publish*) exec "$python" -m paperlib.runs.publish "${options[@]+"${options[@]}"}" ;;
  compare*) exec "$python" -m paperlib.runs.compare "${options[@]+"${options[@]}"}" ;;
  sweep*) exec "$python" -m paperlib.runs.sweep "${options[@]}" ;;
  "claims show"*) exec "$python" -m paperlib.runs.statistics "${options[@]:1}" ;;
  scorecard) exec "$python" -m paperlib.runs.check --mark ;;
  site) exec "$python" -m paperlib.runs.site ;;
  lab*)
    "$python" -m paperlib.runs.pairs
    exec "$python" -m jupyterlab "${options[@]}" --ServerApp.root_dir="$root" "${@:2}"
    ;;
  check*) check "${options[@]+"${options[@]}"}" ;;
  test) run_tests ;;
  "test system") step "system tests" "$python" -m pytest -q tests/system ;;
esac
exit $failed
