"""Compile the kernels for this machine, once, into the user's cache.

GCC takes half a second. The file's name is a digest of the source, the command and everything that the compiler says of
itself and of the processor, so a cache that machines share never hands one the other's instructions. Where no such
compiler or processor is, torch's own passes do the same arithmetic, and ``why_not`` says so; whatever goes wrong here,
nothing but speed is lost.
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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from luthier.foundation.core.files import write_atomic
from luthier.foundation.core.user_cache import find_user_cache

SOURCE: Final = Path(__file__).with_name("kernels.c")
TILE_KEYS: Final = 64
"""Keys that attention's kernel multiplies at a time; ``tiles.py`` fills streams up to multiples of it."""

TILE_QUERIES: Final = 4
"""Queries of the same tile."""

PROBE: Final = ("-march=native", "-dM", "-E", "-x", "c", os.devnull)
SIZES: Final = (f"-DTILE={TILE_KEYS}", f"-DTILE_ROWS={TILE_QUERIES}")
SPEED: Final = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp")
FLAGS: Final = (*SIZES, *SPEED, "-shared", "-fPIC", "-lm")
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


@dataclass(frozen=True)
class Target:
    """What would be compiled.

    Attributes:
        compiler: The compiler's command.
        digest: Of all that decides what the library is.
    """

    compiler: tuple[str, ...]
    digest: str


def build(environment: Mapping[str, str] | None = None) -> Build:
    """Find the library in the cache or compile it, and load it.

    Args:
        environment: ``CC`` names the compiler, ``LUTHIER_KERNELS=off`` asks for none, ``LUTHIER_CACHE`` moves the
            cache; the process's own variables by default.
    """
    variables = os.environ if environment is None else environment
    try:
        target = _find_target(variables)
        if isinstance(target, Build):
            return target
        path = _find_place(target, variables)
        return Build(_load_cached(path) or _compile(target, path))
    except Exception as error:  # noqa: BLE001  a compiler may do anything, and torch needs none
        return _fail(error)


def describe(environment: Mapping[str, str] | None = None) -> str:
    """Say which library is this machine's, or why none, for a run's papers; nothing is compiled or loaded."""
    variables = os.environ if environment is None else environment
    try:
        target = _find_target(variables)
        if isinstance(target, Build):
            return f"none: {target.why_not}"
        path = _find_place(target, variables)
        return target.digest if path is not None and path.is_file() else f"{target.digest}, not in the cache"
    except Exception as error:  # noqa: BLE001  as above
        return f"none: {_fail(error).why_not}"


def _fail(error: Exception) -> Build:
    return Build(None, f"compiling failed: {type(error).__name__}", NEEDED)


def _find_target(environment: Mapping[str, str]) -> Target | Build:
    if environment.get(SWITCH, "").lower() == "off":
        return Build(None, f"{SWITCH}=off", f"unset {SWITCH}")
    if sys.platform != "linux":
        return Build(None, "they are for Linux")
    compiler = _find_compiler(environment)
    if not compiler:
        return Build(None, "no C compiler", NEEDED)
    macros = _run([*compiler, *PROBE])
    unfit = _find_unfit(macros)
    if unfit is not None:
        return unfit
    command = " ".join([*compiler[1:], *FLAGS]).encode()
    return Target(compiler, hashlib.sha256(b"\0".join((macros, command, SOURCE.read_bytes()))).hexdigest())


def _find_compiler(environment: Mapping[str, str]) -> tuple[str, ...]:
    asked = shlex.split(environment.get("CC", ""))
    names = [asked[0]] if asked else ["gcc", "cc"]
    found = next((path for path in map(shutil.which, names) if path), None)
    return (found, *asked[1:]) if found else ()


def _find_unfit(macros: bytes) -> Build | None:
    """Say why a compiler or its processor is unfit, from the macros that it defines."""
    defined = set(macros.replace(b"(", b" ").split())
    if b"__clang__" in defined or b"__GNUC__" not in defined:
        return Build(None, "the compiler is not GCC, with whose threads torch's processor builds work", "CC=gcc")
    if b"__LP64__" not in defined:
        return Build(None, "the compiler is not one for 64 bits", "CC=gcc")
    if b"__AVX512BF16__" not in defined:
        return Build(None, "the processor has no AVX512-BF16")
    return None


def _find_place(target: Target, environment: Mapping[str, str]) -> Path | None:
    try:
        return find_user_cache(environment) / "kernels" / f"{target.digest}.so"
    except RuntimeError:  # a user without a home
        return None


def _compile(target: Target, path: Path | None) -> ctypes.CDLL:
    """Compile and load; the copy in the cache is for the next process, which without one takes half a second more."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "kernels.so"
        _run([*target.compiler, str(SOURCE), *FLAGS, "-o", str(built)])
        if path is not None:
            with suppress(Exception):  # a full or read-only disk
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomic(path, built.read_bytes())
                path.chmod(0o600)
        try:
            return ctypes.CDLL(str(built))
        except OSError:  # nothing may be executed from the temporary folder
            cached = _load_cached(path)
            if cached is None:
                raise
            return cached


def _load_cached(path: Path | None) -> ctypes.CDLL | None:
    """Load a file of the cache that nobody but this user may have written or put there."""
    try:
        is_ours = path is not None and _is_ours(path.parent.lstat()) and _is_ours(path.lstat())
        return ctypes.CDLL(str(path)) if is_ours else None
    except OSError:  # not there, damaged, or not to be executed
        return None


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.getuid() and not status.st_mode & OTHERS_MAY_WRITE


def _run(command: Sequence[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL)  # noqa: S603  the user's own compiler on our own file
    return done.stdout
