#!/usr/bin/env bash
# The unit tests, and one co-launched training from an installed wheel, with the oldest and with the newest versions
# that pyproject.toml allows, each in an environment of its own. Needs Python, a network for pip, and 6 GB of disk.
#
#   tests/compat/check.sh                one after the other
#   tests/compat/check.sh oldest         only one of them (or: newest)
#
#   COMPAT_TORCH=2.14.1    torch in both environments; default: the one of constraints.txt. "any": as pip will have it
#                          (on Linux that brings several gigabytes of CUDA).
#   FRESH=1                make the environments anew. They lie in .cache/compat.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(realpath -m "${SIDESTEP_CACHE:-.cache}")/compat
torch=${COMPAT_TORCH:-$(sed -n 's/^torch==//p' constraints.txt)}
shown='^(accelerate|bitsandbytes|cyclopts|datasets|huggingface[_-]hub|numpy|peft|pydantic|sse-starlette|starlette|tokenizers|torch|transformers|trl) '

install() { # END: its environment, with nothing held back but torch (newest), or with every lower limit (oldest)
    local python=$work/$1/bin/python options=(-c "$work/torch.txt")
    [ -z "${FRESH:-}" ] || rm -rf "${work:?}/$1"
    [ -x "$python" ] || "${PYTHON:-python3}" -m venv "$work/$1"
    if [ "$1" = oldest ]; then
        options+=(-c constraints-oldest.txt)
    else
        options+=(--upgrade --upgrade-strategy eager)
    fi
    "$python" -m pip install --quiet "${options[@]}" -e '.[dev]'
    "$python" -m pip list 2>/dev/null | grep -E "$shown"
}

check() { # END
    local python=$work/$1/bin/python
    OMP_NUM_THREADS=1 "$python" -m pytest tests/unit --numprocesses=auto --maxprocesses=4 --dist=loadfile \
        -p no:cacheprovider
    "$python" -m pytest tests/integration/test_wheel.py -k trains_and_evaluates -p no:cacheprovider
}

mkdir -p "$work"
if [ "$torch" = any ]; then : >"$work/torch.txt"; else echo "torch==$torch" >"$work/torch.txt"; fi
export PIP_DISABLE_PIP_VERSION_CHECK=1
for end in ${*:-oldest newest}; do
    case $end in oldest | newest) ;; *) echo "error: $end: only oldest and newest exist" >&2 && exit 2 ;; esac
    began=$SECONDS
    printf '\n== %s: install\n' "$end"
    install "$end"
    printf '\n== %s: tests (installed in %d s)\n' "$end" $((SECONDS - began))
    check "$end"
    printf '\n== %s: green after %d s\n' "$end" $((SECONDS - began))
done
