#!/usr/bin/env bash
# Makes .venv from the locked, hashed requirements. Says which system packages are missing and how to get them.
# Run again, it does nothing; interrupted, it starts over where pip's cache lets it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stamp=.venv/.requirements.sha256
want=$(cat requirements.txt requirements-dev.txt src/setup.sh | sha256sum)
if [[ -x .venv/bin/inv && -f $stamp && $(<"$stamp") == "$want" ]]; then exit 0; fi

fail() { echo "error: $1" >&2; exit 5; }

[[ $(uname -sm) == "Linux x86_64" ]] || fail "this is $(uname -sm); expected Linux x86_64, which the wheel and oneDNN's INT8 kernels are for"

python=
for candidate in ${PYTHON:-python3.11 python3}; do
  if [[ $("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) == 3.11 ]]; then
    python=$candidate
    break
  fi
done

missing=()
if [[ -z $python ]] && command -v "$candidate" >/dev/null; then
  fail "$candidate is $("$candidate" --version 2>&1); expected Python 3.11, for which alone the wheels are locked and the code is tested (not 3.10 and older, not 3.12 and newer); next: PYTHON=/path/to/python3.11 make setup"
elif [[ -z $python && -n ${PYTHON:-} ]]; then
  fail "PYTHON=$PYTHON is no program; expected Python 3.11; next: PYTHON=/path/to/python3.11 make setup"
elif [[ -z $python ]]; then
  missing+=(python3 python3-venv libpython3.11)
else
  "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  "$python" - <<'PYTHON' || missing+=(libpython3.11)
import glob, sys, sysconfig
places = [sysconfig.get_config_var("LIBDIR"), sys.base_prefix + "/lib", "/usr/lib/x86_64-linux-gnu"]
sys.exit(not any(glob.glob(f"{place}/libpython3.11.so*") for place in places))
PYTHON
fi
for tool in g++ cmake make git taskset; do
  command -v "$tool" >/dev/null || missing+=("${tool/taskset/util-linux}")
done
if ((${#missing[@]})); then
  fail "missing: ${missing[*]}; next: apt-get install -y ${missing[*]}"
fi

free=$(df --output=avail -B1M . | tail -1)
((free >= 3000)) || fail "$free MB free in $PWD; expected 3000 for the packages and the data; next: make room"

# Two at once would delete each other's environment.
exec 9>.venv.lock
flock --nonblock 9 || { echo "error: another make is setting up .venv; next: wait for it, then run again" >&2; exit 8; }

echo "setting up .venv with $("$python" --version) (about 1 GB, once)"
start=$SECONDS
rm -rf .venv
"$python" -m venv .venv
# --no-deps: the lock names everything; paddleslim's own list would bring packages that need X and GL libraries.
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes \
  -r requirements.txt -r requirements-dev.txt
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
echo "$want" >"$stamp"
echo "setting up .venv: done in $((SECONDS - start)) s"
