"""Compile the kernels for this machine, once, into the user's cache.

GCC takes half a second. The file's name is a digest of the source, the flags and everything that the compiler says of
itself and of the processor, so a cache that machines share never hands one the other's instructions. Where no such
compiler or processor is, torch's own passes do the same arithmetic, and ``why_not`` says so.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from luthier.foundation.core.files import write_atomic
from luthier.foundation.core.user_cache import find_user_cache

SOURCE: Final = Path(__file__).with_name("kernels.c")
FLAGS: Final = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC")
LIBRARIES: Final = ("-lm",)
SWITCH: Final = "LUTHIER_KERNELS"
TIMEOUT_SECONDS: Final = 60
OTHERS_MAY_WRITE: Final = 0o022
NEEDED: Final = "install gcc with its C library's headers (Debian: apt install gcc libc6-dev)"


@dataclass(frozen=True)
class Build:
    """A library of kernels, or why there is none.

    Attributes:
        library: The loaded library.
        why_not: One clause where there is none.
        fix: What would mend it; empty where nothing would, or nothing need.
    """

    library: ctypes.CDLL | None
    why_not: str = ""
    fix: str = ""


def build(environment: Mapping[str, str] | None = None) -> Build:
    """Find the library in the cache or compile it, and load it.

    Args:
        environment: ``CC`` names the compiler, ``LUTHIER_KERNELS=off`` asks for none, ``LUTHIER_CACHE`` moves the
            cache; the process's own variables by default.
    """
    variables = os.environ if environment is None else environment
    if variables.get(SWITCH, "").lower() == "off":
        return Build(None, f"{SWITCH}=off", f"unset {SWITCH}")
    compiler = _find_compiler(variables)
    if sys.platform != "linux":
        return Build(None, "they are for Linux")
    if not compiler:
        return Build(None, "no C compiler", NEEDED)
    try:
        macros = _run([*compiler, "-march=native", "-dM", "-E", "-x", "c", os.devnull])
        unfit = _find_unfit(macros)
        if unfit:
            return unfit
        digest = hashlib.sha256(
            b"\0".join((macros, " ".join([*compiler[1:], *FLAGS]).encode(), SOURCE.read_bytes()))
        ).hexdigest()
        path = find_user_cache(variables) / "kernels" / f"{digest}.so"
        return Build(_load_cached(path) or _compile(compiler, path))
    except (OSError, subprocess.SubprocessError) as error:
        return Build(None, f"compiling failed: {type(error).__name__}", NEEDED)


def _find_compiler(environment: Mapping[str, str]) -> list[str]:
    asked = shlex.split(environment.get("CC", ""))
    names = [asked[0]] if asked else ["gcc", "cc"]
    found = next((path for path in map(shutil.which, names) if path), None)
    return [found, *asked[1:]] if found else []


def _find_unfit(macros: bytes) -> Build | None:
    """Say why a compiler or its processor is unfit, from the macros that it defines."""
    defined = {line.split()[1] for line in macros.splitlines() if line.startswith(b"#define ")}
    if b"__clang__" in defined or b"__GNUC__" not in defined:
        return Build(None, "the compiler is not GCC, whose threads torch shares", "CC=gcc")
    if not {b"__AVX512BF16__", b"__LP64__"} <= defined:
        return Build(None, "the processor has no AVX512-BF16")
    return None


def _compile(compiler: list[str], path: Path) -> ctypes.CDLL:
    """Compile into the cache and load; where the cache cannot be written, the library lives as long as the process."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / path.name
        _run([*compiler, *FLAGS, "-o", str(built), str(SOURCE), *LIBRARIES])
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(path, built.read_bytes())
            path.chmod(0o600)
        except Exception:  # noqa: BLE001  a full or read-only disk costs the next process half a second, no more
            return ctypes.CDLL(str(built))
        return ctypes.CDLL(str(path))


def _load_cached(path: Path) -> ctypes.CDLL | None:
    """Load a file of the cache that nobody but its owner, who is this user, may have written."""
    try:
        status = path.stat()
        is_ours = status.st_uid == os.getuid() and not status.st_mode & OTHERS_MAY_WRITE
        return ctypes.CDLL(str(path)) if is_ours else None
    except OSError:  # not there, or damaged
        return None


def _run(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL)  # noqa: S603  the user's own compiler on our own file
    return done.stdout
