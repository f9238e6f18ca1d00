"""Decide which build of torch is installed, from what pip would take and whether there is an NVIDIA GPU.

Pip is asked with ``--dry-run --report``: the index, mirror or folder that this machine is configured for decides
what can be found, so no address stands here. Standard library only, and syntax that Python 3.6 can read.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections import namedtuple

TORCH_VERSION = "2.13.0"

# Measured for torch 2.13.0, Linux x86-64: the wheel 0.53 GB and its sixteen CUDA packages 2.21 GB.
CUDA_DOWNLOAD_BYTES = 2741000000
# Measured installed: torch alone 0.7 GB, everything else 0.9 GB; with the CUDA packages 5 GB in all.
CPU_DISK_BYTES = 2 * 10**9
CUDA_DISK_BYTES = 7 * 10**9

Build = namedtuple("Build", "requirement is_cpu download_bytes disk_bytes")
"""What to install: a pip requirement, whether it is a CPU build, what it takes (0: unknown)."""


def has_nvidia_gpu(proc="/proc/driver/nvidia/version"):
    """Tell whether this machine has an NVIDIA GPU with its driver loaded."""
    if os.path.exists(proc):
        return True
    try:
        done = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and b"GPU" in done.stdout


def is_cpu_build(item, platform=sys.platform):
    """Tell whether one entry of a pip report is torch without CUDA.

    A CPU build says so in its local version (``2.13.0+cpu``), or asks for no CUDA package; elsewhere than on Linux
    the CUDA packages, if listed, are ruled out by their markers.
    """
    metadata = item["metadata"]
    if platform != "linux" or metadata["version"].endswith("+cpu"):
        return True
    needs = [need.lower() for need in metadata.get("requires_dist", []) if "extra ==" not in need]
    return not any(need.startswith(("nvidia", "cuda")) for need in needs)


def download_bytes(url):
    """Return how many bytes an address would send, 0 where it does not say."""
    if url.startswith("file:"):
        path = urllib.request.url2pathname(url[len("file://") :])
        return os.path.getsize(path) if os.path.exists(path) else 0
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.headers.get("Content-Length") or 0)
    except (OSError, ValueError):
        return 0


def ask_pip(run_pip, requirement):
    """Return pip's report entry for one requirement without installing it, None where nothing is found.

    Args:
        run_pip: Runs pip with arguments and returns ``(status, stdout, stderr)``.
        requirement: For example ``torch==2.13.0``.
    """
    arguments = ["install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--report", "-", requirement]
    status, out, _ = run_pip(arguments)
    if status != 0:
        return None
    return json.loads(out)["install"][0]


def choose_build(run_pip, gpu):
    """Choose torch's build: the CPU one where pip finds it and there is no GPU, else the platform's own.

    Args:
        run_pip: As in :func:`ask_pip`.
        gpu: Whether there is an NVIDIA GPU.

    Returns:
        The build, or None where pip finds no torch at all.
    """
    # `===` compares the text, so that a CPU build lying in a folder (2.13.0+cpu) does not win on a machine with a GPU.
    wanted = ["torch===" + TORCH_VERSION, "torch==" + TORCH_VERSION] if gpu else ["torch==" + TORCH_VERSION]
    for requirement in wanted:
        item = ask_pip(run_pip, requirement)
        if item is not None:
            cpu = is_cpu_build(item)
            size = download_bytes(item["download_info"]["url"]) if cpu else CUDA_DOWNLOAD_BYTES
            return Build(requirement, cpu, size, CPU_DISK_BYTES if cpu else CUDA_DISK_BYTES)
    return None


def describe(build, gpu):
    """Say in one sentence what will be installed and how large it is, before it is fetched."""
    size = "{:.2f} GB".format(build.download_bytes / 10**9) if build.download_bytes else "of unknown size"
    if build.is_cpu:
        return "torch {}: the CPU build, {}".format(TORCH_VERSION, size)
    why = "an NVIDIA GPU is here" if gpu else "pip finds no CPU build"
    return "torch {}: the platform's own build with CUDA ({}), about {} to download".format(TORCH_VERSION, why, size)
