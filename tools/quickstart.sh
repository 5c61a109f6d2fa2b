#!/usr/bin/env bash
# From a bare machine to a fine-tuned detector: environment, embedded scenes, SCRL, export, Faster R-CNN twice, table.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
began=$SECONDS
source "$root/tools/env.sh"
echo "environment ready after $((SECONDS - began)) s"
python "$root/tools/quickstart.py" "$@" # in the caller's folder: a relative --out means what it says there
echo "quickstart took $((SECONDS - began)) s in all, environment included"
