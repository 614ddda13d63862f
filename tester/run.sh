#!/usr/bin/env bash
# ./run.sh [iterations] [threads]: the tutorial's script. Without arguments one thread over the whole file;
# ./run.sh -1 20: the whole file with 20 threads.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

MODEL_DIR=${MODEL_DIR:-$here/../data/models/MobileNetV1/int8}
DATA_FILE=${DATA_FILE:-$here/../data/dataset/embedded/val.bin}
BATCH_SIZE=${BATCH_SIZE:-50}
TESTER=${TESTER:-$here/build/sample_tester}

fail() {
  echo "error: $2" >&2
  exit "$1"
}

iterations=${1-0}
threads=${2-1}
[[ $# -le 2 ]] || fail 2 "$# arguments; expected at most 2; next: ./run.sh [iterations] [threads]"
[[ $iterations =~ ^(-1|[0-9]{1,9})$ ]] ||
  fail 2 "iterations '$iterations'; expected a whole number from -1; next: ./run.sh [iterations] [threads]"
[[ $threads =~ ^[1-9][0-9]{0,4}$ ]] ||
  fail 2 "threads '$threads'; expected a whole number from 1; next: ./run.sh [iterations] [threads]"
[[ -x $TESTER ]] || fail 5 "no program $TESTER; next: inv build.tester, or: cmake -S $here -B $here/build && make -C $here/build"

# Bind threads to cores, and let them sleep soon after their work.
export KMP_AFFINITY=granularity=fine,compact,1,0
export KMP_BLOCKTIME=1
export OMP_NUM_THREADS=$threads

exec "$TESTER" --infer_model="$MODEL_DIR" --infer_data="$DATA_FILE" --batch_size="$BATCH_SIZE" \
  --num_threads="$threads" --iterations="$iterations"
