#!/usr/bin/env bash
# Finds or makes the Python environment. Use it as `source tools/env.sh` (then `python` is the right one), or run it.
#
#   an active venv or conda environment (not conda's base)   is used: what it lacks is added
#   else with CI=true                                        ${MMSSCL_ENV:-~/.cache/mmsscl}/<hash of pins and Python>
#   else                                                     .venv in the checkout
#
# In an active environment no version that is there changes; where one does not fit, the script says so and stops. One
# exception: an OpenCV that cannot be imported is swapped for the headless build of the same version.
# Elsewhere MMSSCL_PYTHON names the interpreter to build on; a half-made environment is completed, a broken one rebuilt.
# A second run takes a second: a stamp with the hash of the pins is written last.

if [ "${BASH_SOURCE[0]}" != "$0" ]; then
    # Sourced: the work happens in a shell of its own, so that neither its options nor its failure leak into the caller.
    _mmsscl_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || return 1
    _mmsscl_env=$(bash "$_mmsscl_root/tools/env.sh") || return 1
    export VIRTUAL_ENV="$_mmsscl_env" PATH="$_mmsscl_env/bin:$PATH"
    # The checkout wins over whatever checkout a shared environment was last linked to.
    export PYTHONPATH="$_mmsscl_root${PYTHONPATH:+:$PYTHONPATH}"
    unset PYTHONHOME _mmsscl_root _mmsscl_env
    hash -r
    return 0
fi

set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
unset PYTHONHOME
heartbeat_pid=""
scratch=$(mktemp -d "${TMPDIR:-/tmp}/mmsscl-env.XXXXXX")
log=$scratch/log
trap 'if [ -n "$heartbeat_pid" ]; then kill "$heartbeat_pid" 2>/dev/null || true; fi; rm -rf "$scratch"' EXIT

say() { echo "[env] $*" >&2; }
fail() { say "$@"; exit 1; }

heartbeat() {
    local waited=0
    trap 'kill $! 2>/dev/null; exit 0' TERM
    while :; do
        sleep 15 &
        wait $!
        waited=$((waited + 15))
        say "    ... $waited s"
    done
}

step() { # step TITLE COMMAND...: a line when it starts, a sign of life, the seconds; the output only when it fails
    local title=$1 began=$SECONDS
    shift
    say "$title"
    heartbeat > /dev/null &
    heartbeat_pid=$!
    local status=0
    "$@" > "$log" 2>&1 < /dev/null || status=$?
    kill "$heartbeat_pid" 2>/dev/null || true
    wait "$heartbeat_pid" 2>/dev/null || true
    heartbeat_pid=""
    if [ "$status" -ne 0 ]; then
        tail -n 30 "$log" >&2
        fail "failed after $((SECONDS - began)) s: $title"
    fi
    say "    done in $((SECONDS - began)) s"
}

supported() { # a pyenv shim may exist and still not run: ask it
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' > /dev/null 2>&1
}

find_python() { # prints an interpreter; one that can make environments comes before one that cannot
    local candidate fallback=""
    if [ -n "${MMSSCL_PYTHON:-}" ] && ! supported "$MMSSCL_PYTHON"; then
        say "MMSSCL_PYTHON=$MMSSCL_PYTHON is no working Python 3.10, 3.11 or 3.12; looking for another"
    fi
    for candidate in ${MMSSCL_PYTHON:+"$MMSSCL_PYTHON"} python3 python3.12 python3.11 python3.10 /usr/bin/python3; do
        command -v "$candidate" > /dev/null 2>&1 && supported "$candidate" || continue
        if "$candidate" -c 'import venv, ensurepip' > /dev/null 2>&1; then
            echo "$candidate"
            return
        fi
        fallback=${fallback:-$candidate}
    done
    [ -n "$fallback" ] || fail "no Python 3.10, 3.11 or 3.12 found (tried \$MMSSCL_PYTHON, python3, python3.12, python3.11," \
        "python3.10). Install one, e.g. apt-get install python3 python3-venv, or set MMSSCL_PYTHON=/path/to/python3.11"
    echo "$fallback"
}

pins_key() { # a hash of everything the environment is made from
    "$1" -c '
import hashlib, pathlib, sys
digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
for path in sorted(pathlib.Path("requirements").glob("*.txt")):
    digest.update(path.name.encode() + path.read_bytes())
print(digest.hexdigest()[:16])'
}

make_venv() { # make_venv PYTHON FOLDER
    local python=$1 folder=$2
    rm -rf "$folder"
    mkdir -p "$(dirname "$folder")"
    if "$python" -c 'import venv, ensurepip' > /dev/null 2>&1; then
        "$python" -m venv "$folder"
    elif "$python" -m virtualenv --version > /dev/null 2>&1; then
        "$python" -m virtualenv "$folder"
    elif "$python" -m pip --version > /dev/null 2>&1 && "$python" -c 'import venv' > /dev/null 2>&1; then
        # Debian ships Python without ensurepip: let the outer pip put one into the new environment.
        "$python" -m venv --without-pip "$folder" && "$python" -m pip --python "$folder/bin/python" install pip
    else
        echo "$python cannot make environments (no ensurepip, virtualenv or pip): apt-get install python3-venv"
        return 1
    fi
}

pip_install() {
    # Python compiles a module when it is first imported, and pip all 14,000 of them; but Python may have been told not to
    local compile=--no-compile
    [ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || compile=--compile
    "$python" -m pip install --quiet --disable-pip-version-check --no-input --progress-bar off $compile "$@"
}

problems() { # what `import mmsscl` would complain about; the file alone, as the package refuses to load then
    "$python" -c 'import runpy; print("\n".join(runpy.run_path("mmsscl/environment.py")["find_problems"]()))'
}

lacking() { # lacking FILE: the lines of a requirements file that the environment lacks
    "$python" -c '
import re, sys
from importlib.metadata import distributions
from importlib.util import find_spec

# these come from another distribution too (upstream family, headless build), or from a checkout on PYTHONPATH
modules = {"onedl-mmengine": "mmengine", "onedl-mmcv": "mmcv", "onedl-mmpretrain": "mmpretrain",
           "onedl-mmdetection": "mmdet", "opencv-python": "cv2"}
present = {re.sub("[-_.]+", "-", d.metadata["Name"]).lower() for d in distributions() if d.metadata["Name"]}
for line in open(sys.argv[1], encoding="utf-8"):
    name = re.match(r"[\w.-]*", line)[0].lower()
    if name and name not in present and not (name in modules and find_spec(modules[name])):
        print(line.strip())
' "$1"
}

hold() { # pip constraints that keep every installed version
    "$python" -c '
import re
from importlib.metadata import distributions

found = {}
for d in distributions():
    found.setdefault(re.sub("[-_.]+", "-", d.metadata["Name"] or "").lower(), d.version)
for name, version in found.items():
    if name and name != "mmsscl" and re.match(r"\d[\w.!+-]*$", version or ""):
        print(f"{name}=={version}")
'
}

add_lacking() { # add_lacking FILE: installs what it lists and the environment lacks
    lacking "$1" > "$scratch/wanted" && hold > "$scratch/held" || return
    pip_install --constraint "$scratch/held" -r "$scratch/wanted" && return
    echo "The tested versions do not go with what is installed; trying any version of all but the OneDL packages."
    sed '/^onedl-/!s/==[^ ;]*//' "$scratch/wanted" > "$scratch/loose"
    pip_install --constraint "$scratch/held" -r "$scratch/loose"
}

torch_partner() { # pip arguments for the half of the pair torch 2.N, torchvision 0.(N + 15) that is missing
    "$python" -c '
import re
from importlib.metadata import distributions

found = {d.metadata["Name"]: d.version for d in distributions()}
if "torch" in found:
    there, partner, shift = found["torch"], "torchvision==0", 15
else:
    there, partner, shift = found.get("torchvision", ""), "torch==2", -15
match = re.match(r"[02]\.(\d+)[^+]*\+?(cpu$|cu\d+$|rocm.*|xpu$|)", there)
if match and int(match[1]) + shift >= 0:
    # a build for one device (2.11.0+cpu) has its partner on an index of its own
    index = f" --extra-index-url https://download.pytorch.org/whl/{match[2]}" if match[2] else ""
    print(f"{partner}.{int(match[1]) + shift}.*{index}")
'
}

add_torch_partner() {
    hold > "$scratch/held" && pip_install --constraint "$scratch/held" "$@"
}

upstream_present() { # the distributions of the OpenMMLab family that are there, on one line
    "$python" -c '
from importlib.metadata import distributions
family = {"mmengine", "mmcv", "mmcv-full", "mmcv-lite", "mmpretrain", "mmdet"}
print(*sorted({d.metadata["Name"] for d in distributions()} & family))'
}

complete_active() { # adds to the active environment what it lacks, or stops before anything is touched
    local found upstream file names
    local way_out="Or deactivate it (unset VIRTUAL_ENV CONDA_PREFIX), and this script makes one of its own."
    local -a partner
    say "using the active environment $folder ($("$python" --version 2>&1)); versions that are there stay"
    found=$(problems)
    if grep -qv 'missing (searched\|^$' <<< "$found"; then
        fail "the active environment does not fit, and is left as it is:" $'\n'"$found" $'\n'"$way_out"
    fi
    upstream=$(upstream_present)
    names=$(sed -n "s/^the module '\([a-z]*\)' is missing.*/\1/p" <<< "$found" | tr '\n' ' ')
    if [ -n "$upstream" ] && [ -n "$names" ]; then
        fail "the active environment is left as it is: it holds $upstream (OpenMMLab's packages) but lacks ${names% }." \
            "The OneDL packages this script would add write into the same folders." \
            $'\n'"Complete it:  $python -m pip install $names" \
            $'\n'"or empty it:  $python -m pip uninstall -y $upstream   (the next run adds OneDL's)" $'\n'"$way_out"
    fi
    if ! "$python" -m pip --version > /dev/null 2>&1; then
        "$python" -c 'import ensurepip' > /dev/null 2>&1 || fail "the active environment $folder has no pip, and its" \
            "Python has no ensurepip. Add pip: uv pip install --python $python pip" $'\n'"$way_out"
        step "adding pip" "$python" -m ensurepip
    fi
    case "$found" in
        *"torch and torchvision missing (searched"*)
            step "adding torch and torchvision (about a minute)" add_lacking requirements/torch.txt ;;
        *"torch missing (searched"* | *"torchvision missing (searched"*)
            read -r -a partner <<< "$(torch_partner)"
            [ "${#partner[@]}" -eq 0 ] || step "adding ${partner[0]}" add_torch_partner "${partner[@]}" ;;
    esac
    for file in core test build; do
        names=$(lacking "requirements/$file.txt" | sed 's/[=; ].*//' | sort -u | tr '\n' ' ')
        [ -z "$names" ] || step "adding ${names% }" add_lacking "requirements/$file.txt"
    done
    found=$(problems)
    [ -z "$found" ] || fail "the active environment does not fit:" $'\n'"$found" $'\n'"$way_out"
}

use_headless_opencv() { # the ordinary wheel links against libGL and libglib, which slim images lack
    local pin
    pin=$("$python" -c 'from importlib.metadata import version; print(version("opencv-python"))' 2> /dev/null) ||
        pin=$(sed -n 's/^opencv-python==\([^ ;]*\).*/\1/p' requirements/core.txt)
    "$python" -m pip uninstall --quiet --yes opencv-python opencv-python-headless
    pip_install --no-deps "opencv-python-headless==$pin"
}

cache=${MMSSCL_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/mmsscl}
active=""
if [ -n "${VIRTUAL_ENV:-}" ]; then
    active=$VIRTUAL_ENV
elif [ -n "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-}" != base ]; then
    active=$CONDA_PREFIX
fi
folder=$active
if [ "$active" = "$root/.venv" ]; then # made by this script: follows the pins, and is not what it is itself rebuilt with
    PATH=${PATH//"$active/bin:"/}
    active=""
fi

if [ -n "$active" ]; then
    python=$folder/bin/python
    supported "$python" || fail "the active environment $active has no working Python 3.10, 3.11 or 3.12." \
        "Deactivate it (unset VIRTUAL_ENV CONDA_PREFIX), and this script makes one of its own"
    key=$(pins_key "$python")
else
    base=$(find_python)
    key=$(pins_key "$base")
    if [ -z "$folder" ] && [ "${CI:-}" = true ]; then
        folder=$cache/$key
    else
        folder=$root/.venv
    fi
    python=$folder/bin/python
fi
stamp=$folder/mmsscl-stamp

ready() { # the stamp is of these pins and this checkout, and the package imports (which checks the versions)
    [ "$(cat "$stamp" 2>/dev/null)" = "$key $root" ] && PYTHONPATH="$root" "$python" -c 'import mmsscl' > /dev/null 2>&1
}

if ! ready; then
    if command -v flock > /dev/null 2>&1; then
        exec 9> "${TMPDIR:-/tmp}/mmsscl-env-$(id -u)-$(printf '%s' "$folder" | cksum | cut -d ' ' -f 1).lock"
        flock --nonblock 9 || { say "another run is preparing $folder; waiting for it"; flock 9; }
    fi
fi

if ! ready; then # the other run may have made it meanwhile
    began=$SECONDS
    previous=$(cut -d ' ' -f 1 "$stamp" 2>/dev/null || true)
    rm -f "$stamp"
    if [ -n "$active" ]; then
        complete_active
    else
        # another Python version than asked for counts as broken
        if ! { supported "$python" && [ "$(pins_key "$python")" = "$key" ] &&
            "$python" -m pip --version > /dev/null 2>&1; }; then
            step "making $folder with $("$base" --version 2>&1)" make_venv "$base" "$folder"
            previous=""
        fi
        if [ "$previous" != "$key" ] || [ -n "$(problems)" ]; then
            say "the first set-up takes 2 to 5 minutes and 5 GB"
            step "1/3 torch and torchvision (about a minute)" pip_install -r requirements/torch.txt
            step "2/3 mmengine, mmcv, mmpretrain, mmdet and the rest (1 to 2 minutes)" pip_install \
                -r requirements/torch.txt -r requirements/core.txt -r requirements/test.txt -r requirements/build.txt
        fi
    fi
    if ! "$python" -c 'import cv2' > /dev/null 2>&1; then
        step "swapping opencv-python for opencv-python-headless (its libGL is missing here)" use_headless_opencv
        "$python" -c 'import cv2' || fail "OpenCV cannot be imported (see above)"
    fi
    step "3/3 mmsscl itself, editable" pip_install --no-deps --no-build-isolation --editable .
    PYTHONPATH="$root" "$python" -c 'import mmsscl' || fail "mmsscl cannot be imported (see above)"
    echo "$key $root" > "$stamp"
    say "environment $folder ready after $((SECONDS - began)) s"
fi
echo "$folder"
