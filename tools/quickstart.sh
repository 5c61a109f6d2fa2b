#!/usr/bin/env bash
# From a bare machine to a fine-tuned detector: environment, embedded scenes, SCRL, export, Faster R-CNN twice, table.
set -euo pipefail
cd "$(dirname "$0")/.."
began=$SECONDS
source tools/env.sh
echo "environment ready after $((SECONDS - began)) s"
python tools/quickstart.py "$@"
echo "quickstart took $((SECONDS - began)) s in all, environment included"
