#!/bin/sh
# Print the first Python that can hold the environment: 3.11 to 3.13 with venv and ensurepip.
# Where there is none: one sentence on stderr, exit 4. PYTHON=/path/to/python is tried alone.
too_old=""
without=""
for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case "$version" in
    3.11 | 3.12 | 3.13) ;;
    *)
        too_old="$candidate is $version"
        continue
        ;;
    esac
    if "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    fi
    without="$version"
done
if [ -n "$without" ]; then
    echo "luthier set-up: Python $without has no venv module; install it (Debian, Ubuntu: apt install python$without-venv) and run make again." >&2
elif [ -n "$too_old" ]; then
    echo "luthier set-up: Python 3.11, 3.12 or 3.13 is needed, but $too_old; install one, or name one: make PYTHON=/path/to/python3.11 test" >&2
else
    echo "luthier set-up: no Python found; install Python 3.11, 3.12 or 3.13 and run make again." >&2
fi
exit 4
