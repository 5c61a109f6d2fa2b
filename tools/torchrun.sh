#!/usr/bin/env bash
# Start a tool of this folder by torchrun, for dist_train.sh and dist_test.sh.
#   bash tools/torchrun.sh TOOL PROCESSES [arguments of the tool]
# Reads NNODES, NODE_RANK, MASTER_ADDR, PORT, OMP_NUM_THREADS and PYTHON.
set -euo pipefail

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
TOOL="$1"
PROCESSES="$2"
shift 2
PYTHON="${PYTHON:-python}"

if ! [[ "$PROCESSES" =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of GPUs (processes) must be 1 or more, not '$PROCESSES'" >&2
    exit 2
fi
if [ -z "${OMP_NUM_THREADS:-}" ]; then
    CORES="$(getconf _NPROCESSORS_ONLN)"
    # shared by the ranks; more than 4 only takes cores from the data workers
    THREADS=$((CORES / PROCESSES))
    THREADS=$((THREADS < 1 ? 1 : THREADS > 4 ? 4 : THREADS))
    export OMP_NUM_THREADS="$THREADS"
fi
export PYTHONPATH="$(dirname "$TOOLS")${PYTHONPATH:+:$PYTHONPATH}"

exec "$PYTHON" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$PROCESSES" \
    "$TOOLS/$TOOL" "$@" --launcher pytorch
