#!/usr/bin/env bash
# Makes .venv from the locked, hashed requirements. Says which system packages are missing and how to get them.
# Run again, it does nothing; interrupted, it starts over where pip's cache lets it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "error: $1" >&2; exit 5; }
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

# What is there stays, whichever Python it was made with, unless PYTHON names one of another version.
stamp=.venv/.requirements.sha256
want=$(cat requirements.txt requirements-dev.txt src/setup.sh | sha256sum)
if [[ -x .venv/bin/inv && -f $stamp ]]; then
  made=$(<"$stamp")
  if [[ ${made% *} == "$want" && ( -z ${PYTHON:-} || ${made##* } == "$(version_of "$PYTHON")" ) ]]; then exit 0; fi
fi

[[ $(uname -sm) == "Linux x86_64" ]] || fail "this is $(uname -sm); expected Linux x86_64, which the wheel and oneDNN's INT8 kernels are for"

python= other=
for candidate in ${PYTHON:-python3.11 python3 python3.10 python3.9}; do
  version=$(version_of "$candidate")
  case $version in
    3.9 | 3.10 | 3.11) python=$candidate; break ;;
    ?*) other=$candidate ;;
  esac
done

missing=()
if [[ -z $other$python && -n ${PYTHON:-} ]] && command -v "$PYTHON" >/dev/null; then other=$PYTHON; fi
if [[ -z $python && -n $other ]]; then
  said=$("$other" --version 2>&1 || true)
  fail "$other is ${said%%$'\n'*}; expected Python 3.9, 3.10 or 3.11, for which the wheels are locked and the code is tested (not 3.8 and older, not 3.12 and newer); next: PYTHON=/path/to/python3.11 make setup"
elif [[ -z $python && -n ${PYTHON:-} ]]; then
  fail "PYTHON=$PYTHON is no program; expected Python 3.9, 3.10 or 3.11; next: PYTHON=/path/to/python3.11 make setup"
elif [[ -z $python ]]; then
  missing+=(python3 python3-venv libpython3.11)
else
  "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("python$version-venv")
  "$python" - <<'PYTHON' || missing+=("libpython$version")
import glob, sys, sysconfig
places = [sysconfig.get_config_var("LIBDIR"), sys.base_prefix + "/lib", "/usr/lib/x86_64-linux-gnu"]
sys.exit(not any(glob.glob("%s/libpython%d.%d.so*" % (place, *sys.version_info[:2])) for place in places))
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
echo "$want $version" >"$stamp"
echo "setting up .venv: done in $((SECONDS - start)) s"
