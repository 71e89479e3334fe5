#!/bin/sh
# Makes .venv from uv.lock. It needs only Python, from 3.11 up to 3.13, and no root. It changes
# nothing outside this directory and the package cache. `make setup` calls it. You may also run it
# by hand. PYTHON=/path/to/python chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

# The version that wrote uv.lock. With one version for all, each `uv sync` reads the lock alike.
UV_VERSION=0.13.8

say() { printf '%s\n' "$*" >&2; }

# Asks each interpreter for its version. Its name does not suffice, because pyenv's shims exist for
# versions that are not switched on.
suits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
        if suits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    say "error  no Python 3.11, 3.12 or 3.13 found" \
        "(tried python3, python3.13, python3.12, python3.11, python)"
    say "next   install one, or name one: make setup PYTHON=/path/to/python3.12"
    return 1
}

# Uses an installed uv if it is not older than the lock's.
suitable_uv_on_path() {
    command -v uv >/dev/null 2>&1 || return 1
    "$python" -c '
import sys
number = lambda text: tuple(int(part) for part in text.split("+")[0].split(".")[:3])
sys.exit(number(sys.argv[1].split()[1]) < number(sys.argv[2]))' \
        "$(uv --version)" "$UV_VERSION" 2>/dev/null
}

install_uv() {
    [ -x .tools/uv/bin/uv ] \
        && .tools/uv/bin/uv --version 2>/dev/null | grep -qF "uv $UV_VERSION" \
        && return
    rm -rf .tools/uv
    say "installing uv $UV_VERSION into .tools/uv"
    # Debian's python3 has no ensurepip without python3-venv, but may have pip. `--target` needs
    # only pip.
    if "$python" -m venv .tools/uv >/dev/null 2>&1 \
        && .tools/uv/bin/python -m pip install --quiet "uv==$UV_VERSION"; then
        return
    fi
    rm -rf .tools/uv
    if "$python" -m pip --version >/dev/null 2>&1 \
        && "$python" -m pip install --quiet --target .tools/uv "uv==$UV_VERSION"; then
        return
    fi
    rm -rf .tools/uv
    say "error  uv could not be installed with $python:" \
        "neither 'python -m venv' nor 'python -m pip' did it (see above)"
    say "next   install python3-venv (Debian, Ubuntu: apt install python3-venv)," \
        "or uv itself, or check the network"
    return 1
}

python=$(find_python)
if suitable_uv_on_path; then
    uv=$(command -v uv)
else
    install_uv
    uv=.tools/uv/bin/uv
fi

say "installing the packages of uv.lock into .venv (the first time about 300 of them)"
# Uses the interpreter found above, never one downloaded by uv. The packages are compiled here. At
# the first start, a dozen processes would each compile the same modules.
UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv \
    "$uv" sync --locked --quiet --compile-bytecode --python "$python" --extra embedded --group dev
# New homes begin with copies of them.
.venv/bin/python -m dojo.stack.blank_databases
say "ready: .venv/bin/dojo"
