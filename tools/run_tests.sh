#!/usr/bin/env bash
# Makes the environment where it is missing, then lints, checks types and runs the tests.
# Arguments go to pytest: `bash tools/run_tests.sh tests/ops -k nms`.
# Two test processes of one thread each: quicker than one of two threads on 2 cores.
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
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
run pytest python -m pytest --numprocesses 2 --dist loadfile "$@"
echo "== ruff, mypy and pytest took $((SECONDS - began)) s (set-up aside)"
if [ "${#failed[@]}" -gt 0 ]; then
    echo "== FAILED: ${failed[*]}"
    exit 1
fi
