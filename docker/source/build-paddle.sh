#!/usr/bin/env bash
# build-paddle.sh SOURCE_DIR INSTALL_FLAG LIBRARY BYTES_PER_JOB FLAG...: the tutorial's build (section 1.1), resumable.
# The build directory lies in /cache by what it is built from: a build that failed or was stopped goes on where it was.
set -euo pipefail
source=$1 install_flag=$2 library=$3 bytes_per_job=$4
shift 4
root=/opt/paddle

fail() { echo "error: $1" >&2; exit 1; }

build=/cache/build-$(echo "$(<"$source.commit") $install_flag $*" | sha256sum | cut -c1-16)
mkdir -p "$build" /out/wheels

# Bounded by memory as well as by CPUs: a translation unit of Paddle takes up to $bytes_per_job.
available=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo) # in KB
jobs=$((available * 1024 / bytes_per_job))
((jobs >= 1)) || jobs=1
((jobs <= $(nproc))) || jobs=$(nproc)
echo "make -j$jobs in $build"

export CCACHE_DIR=/cache/ccache CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
cmake -S "$source" -B "$build" "-D$install_flag=$root" "$@"
make -C "$build" "-j$jobs"
make -C "$build" inference_lib_dist
[[ -f $root/paddle/lib/$library ]] || fail "inference_lib_dist made no paddle/lib/$library in $root"

# WITH_PYTHON=ON leaves the Python package here.
find "$build/python/dist" -name '*.whl' -exec cp {} /out/wheels/ \; 2>/dev/null || true
ccache --show-stats 2>/dev/null | grep -iE '^ *(hits|misses|cache hit rate)' | head -3 || true
