#!/usr/bin/env bash
# Makes the environment where it is missing, then lints, checks types and runs the tests.
# Arguments go to pytest: `bash tools/run_tests.sh tests/ops -k nms`.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/env.sh
began=$SECONDS
failed=()

run() { # run NAME COMMAND...: all three run even where one fails, so that one look shows everything
    local name=$1 start=$SECONDS
    shift
    echo "== $name: $*"
    "$@" || failed+=("$name")
    echo "== $name took $((SECONDS - start)) s"
}

run ruff python -m ruff check .
run mypy python -m mypy
run pytest python -m pytest "$@"
echo "== ruff, mypy and pytest took $((SECONDS - began)) s (set-up aside)"
if [ "${#failed[@]}" -gt 0 ]; then
    echo "== FAILED: ${failed[*]}"
    exit 1
fi
