#!/usr/bin/env bash
# Train under Slurm, one task per GPU.
#   bash tools/slurm_train.sh PARTITION JOB CONFIG [GPUS [options of tools/train.py]]
# Reads GPUS_PER_NODE (8), CPUS_PER_TASK (6), SRUN_ARGS (more options of srun), PORT and PYTHON.
# In a batch job that may be preempted or run out of time, Slurm's signal lets it save, go back into the queue and resume:
#   sbatch --requeue --open-mode=append --signal=USR1@120 [...] --wrap "bash tools/slurm_train.sh PARTITION JOB CONFIG GPUS"
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB CONFIG [GPUS [options of tools/train.py]]" >&2
    exit 2
fi
PARTITION="$1"
JOB="$2"
CONFIG="$3"
shift 3
GPUS="${GPUS:-8}"
if [[ "${1:-}" =~ ^[1-9][0-9]*$ ]]; then
    GPUS="$1"
    shift
fi
GPUS_PER_NODE="${GPUS_PER_NODE:-8}"
GPUS_PER_NODE=$((GPUS < GPUS_PER_NODE ? GPUS : GPUS_PER_NODE))
TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export PYTHONPATH="$(dirname "$TOOLS")${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
[ -n "${PORT:-}" ] && export MASTER_PORT="$PORT"

if [ -n "${SLURM_JOB_ID:-}" ]; then
    export MMSSCL_REQUEUE="${MMSSCL_REQUEUE:-1}"
fi
# started again by Slurm: go on where it was
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [[ " $* " != *" --resume"* ]]; then
    set -- "$@" --resume
fi

# SRUN_ARGS is several words on purpose
# shellcheck disable=SC2086
exec srun --partition="$PARTITION" --job-name="$JOB" --gres="gpu:$GPUS_PER_NODE" --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-6}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/train.py" "$CONFIG" --launcher slurm "$@"
