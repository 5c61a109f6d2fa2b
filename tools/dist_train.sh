#!/usr/bin/env bash
# Train on several processes of one or more machines; one process per GPU, or gloo processes where there is no GPU.
#   bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several machines: start it on each with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR (of machine 0) and PORT set.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]" >&2
    exit 2
fi
exec bash "$(dirname "${BASH_SOURCE[0]}")/torchrun.sh" train.py "$2" "$1" "${@:3}"
