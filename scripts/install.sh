#!/bin/sh
# Make .venv and install graphtf in it, with what one of its extras needs: sh scripts/install.sh train|dev
#
# Returns at once if nothing changed since the last time. A .venv that cannot run, was left half made or was moved is
# made again. PYTHON=/path/to/python chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

extra=${1:-}
case $extra in
train | dev) ;;
*)
    echo "usage: sh scripts/install.sh train|dev, but got '$extra'" >&2
    exit 2
    ;;
esac

fail() {
    printf 'graphtf: %s\n' "$@" >&2
    exit 1
}
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
found() { if [ -n "$(version "$1")" ]; then echo "$1 is Python $(version "$1")"; else echo "$1 is no Python that runs"; fi; }
supported() { case $(version "$1") in 3.11 | 3.12 | 3.13) ;; *) return 1 ;; esac }

# 1. The interpreter.
python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3 python3.11 python3.12 python3.13 python; do
        if supported "$candidate"; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        fail "needs Python 3.11, 3.12 or 3.13, but $(found python3) and there is no other" \
            "install one, or name it: make PYTHON=/path/to/python3.11 ..."
    fi
elif ! supported "$python"; then
    fail "needs Python 3.11, 3.12 or 3.13, but $(found "$python")" \
        "name another: make PYTHON=/path/to/python3.11 ..."
fi

# 2. Is everything there already? The extra dev contains train.
key="$(pwd) | $(cksum <pyproject.toml) | $(cksum <constraints.txt)"
stamp_is_current() { [ "$(cat ".venv/.installed-$1" 2>/dev/null)" = "$key" ]; }
if ! [ -e .venv ]; then
    state="absent"
elif [ -e .venv/.installing ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    state="incomplete"
elif [ -n "${PYTHON:-}" ] && [ "$(version .venv/bin/python)" != "$(version "$python")" ]; then
    state="of Python $(version .venv/bin/python)"
elif ! supported .venv/bin/python; then
    state="of Python $(version .venv/bin/python)"
else
    state="fine"
    for stamp in .venv/.installed-*; do
        if [ -e "$stamp" ] && [ "$(sed 's/ | .*//' "$stamp")" != "$(pwd)" ]; then state="from another folder"; fi
    done
fi
if [ "$state" = fine ] && { stamp_is_current "$extra" || stamp_is_current dev; }; then
    exit 0
fi

# 3. The environment.
if [ "$state" != fine ]; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python (Python $(version "$python")) cannot make an environment: its module venv or ensurepip is missing" \
            "on Debian and Ubuntu: apt-get install python3-venv; else name another Python: make PYTHON=/path/to/python ..."
    if [ "$state" = absent ]; then
        echo "== Making .venv with Python $(version "$python")"
    else
        echo "== Making .venv again with Python $(version "$python"): it is $state"
    fi
    "$python" -m venv --clear .venv ||
        fail "could not make the folder .venv (reason above); check free space and permissions, then try again"
fi

# 4. The packages. The marker stays behind if this is interrupted.
echo "== Installing graphtf[$extra] into .venv (the first time takes some minutes; log: .venv/pip.log)"
rm -f .venv/.installed-*
: >.venv/.installing
if .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off --only-binary :all: \
    -c constraints.txt -e ".[$extra]" >.venv/pip.log 2>&1; then
    rm .venv/.installing
else
    rm -f .venv/.installing
    tail -n 20 .venv/pip.log >&2
    fail "pip could not install graphtf[$extra] (its last words are above, all of them in .venv/pip.log)" \
        "check that a package index can be reached ('.venv/bin/pip config list' shows the settings), then try again"
fi
echo "$key" >".venv/.installed-$extra"
