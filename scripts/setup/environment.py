"""Build ``.venv``: the environment, torch, the exact versions of constraints.txt, the package with test and dev.

Run by ``make``. The stamp ``.venv/.ready`` is written last; an environment that we began and did not finish is made
anew, one that somebody made by hand is completed. Every foreseen failure is one sentence on stderr and exit 4.
Standard library only, and syntax that Python 3.6 can read, so that an old Python can say that it is too old.
"""

import os
import re
import shutil
import subprocess
import sys

import torch_build

OLDEST, NEWEST = (3, 11), (3, 13)
EXTRAS = ".[test,dev]"
STAMP = ".ready"
UNFINISHED = ".unfinished"
LOG = "setup.log"
LACKS = 4
INTERRUPTED = 130

FAILURES = (
    (
        r"No space left on device|Errno 28|Disk quota exceeded",
        "the disk is full; free {needs:.0f} GB and run make again",
    ),
    (
        r"NewConnectionError|NameResolutionError|Name or service not known|Temporary failure in name resolution"
        r"|Network is unreachable|Connection refused|ConnectTimeout|ReadTimeout|Max retries exceeded|ProxyError",
        "the Python index cannot be reached; check the network or pip's settings and run make again",
    ),
    (
        r"No matching distribution found for (\S+)|Could not find a version that satisfies the requirement (\S+)",
        "the Python index that pip is set to has no {name}; check pip's settings and run make again",
    ),
)


class Lacks(Exception):
    """The machine lacks something; the text is the whole sentence."""


def say(sentence):
    """Tell the person who waits; stdout stays empty."""
    sys.stderr.write("luthier set-up: " + sentence + "\n")
    sys.stderr.flush()


def check_python(version):
    """Refuse a Python outside the supported range.

    Raises:
        Lacks: With the version found and those that do.
    """
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        message = "Python 3.11, 3.12 or 3.13 is needed, but this is {}.{}; run make PYTHON=/path/to/python3.11 test"
        raise Lacks(message.format(*version[:2]))


def check_space(folder, needed_bytes):
    """Refuse to begin what would fill the disk.

    Raises:
        Lacks: With what is free and what is needed.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        message = "{:.1f} GB of disk are needed in {}, but {:.1f} GB are free; free some and run make again"
        raise Lacks(message.format(needed_bytes / 1e9, folder, free / 1e9))


def explain(output, needed_bytes):
    """Turn pip's many lines into what is the matter, in one clause."""
    for pattern, clause in FAILURES:
        found = re.search(pattern, output)
        if found:
            names = [name for name in found.groups() if name]
            return clause.format(needs=needed_bytes / 1e9, name=names[0] if names else "")
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")]
    return "pip failed ({})".format(errors[-1][len("ERROR:") :].strip() if errors else "it gave no reason")


class Environment:
    """A virtual environment that is being built.

    Args:
        folder: Where it lies, usually ``.venv``.
    """

    def __init__(self, folder):
        """Name the folder; nothing is touched yet."""
        self.folder = folder
        self.python = os.path.join(folder, "bin", "python")
        self.needed_bytes = torch_build.CPU_DISK_BYTES

    def path(self, name):
        """Return the path of one of our own files in the environment."""
        return os.path.join(self.folder, name)

    def begin(self):
        """Make the environment: what was begun and not finished is removed, what is whole is kept.

        Raises:
            Lacks: When there is no room or no venv module.
        """
        if os.path.exists(self.path(UNFINISHED)):
            say("an earlier set-up was interrupted; starting again")
            self.empty()
        if os.path.exists(self.python):
            return
        check_space(os.path.dirname(os.path.abspath(self.folder)), self.needed_bytes)
        os.makedirs(self.folder, exist_ok=True)
        with open(self.path(UNFINISHED), "w", encoding="utf-8") as marker:
            marker.write("set-up began here and has not ended\n")
        done = subprocess.run(
            [sys.executable, "-m", "venv", self.folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        if done.returncode != 0 and re.search(FAILURES[0][0], done.stdout):
            raise Lacks(explain(done.stdout, self.needed_bytes))
        if done.returncode != 0:
            message = "Python {0} cannot make environments; install its venv module (apt install python{0}-venv)"
            raise Lacks(message.format("{}.{}".format(*sys.version_info[:2])))

    def empty(self):
        """Remove all but the marker, so that an interruption here is seen as one too."""
        for name in os.listdir(self.folder):
            path = self.path(name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif name != UNFINISHED:
                os.remove(path)

    def run_pip(self, arguments, out=subprocess.PIPE):
        """Run the environment's pip and return ``(status, stdout, stderr)``; what it says is kept in the log."""
        command = [self.python, "-m", "pip", "--disable-pip-version-check"] + arguments
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, universal_newlines=True)
        with open(self.path(LOG), "a", encoding="utf-8") as log:
            log.write("$ pip {}\n{}\n".format(" ".join(arguments), done.stderr))
        return done.returncode, done.stdout or "", done.stderr

    def install(self, arguments, bar=False):
        """Install with pip; with ``bar`` its download bar is shown where a person watches.

        Raises:
            Lacks: With pip's reason in one clause and where its own words are.
        """
        if bar and sys.stderr.isatty():
            status, out, errors = self.run_pip(["install"] + arguments, out=sys.stderr)
        else:
            status, out, errors = self.run_pip(["install", "--quiet"] + arguments)
        if status != 0:
            reason = explain(out + errors, self.needed_bytes)
            raise Lacks("{} (pip's own words: {})".format(reason, self.path(LOG)))

    def install_torch(self):
        """Install torch in the build that fits this machine, its size said beforehand.

        Raises:
            Lacks: When pip finds none or there is no room.
        """
        code = "import importlib.metadata as m; print(m.version('torch'))"
        done = subprocess.run([self.python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.stdout.decode().strip().split("+")[0] == torch_build.TORCH_VERSION:
            return
        gpu = torch_build.has_nvidia_gpu()
        build = torch_build.choose_build(self.run_pip, gpu)
        if build is None:
            self.install(["--dry-run", "--no-deps", "torch==" + torch_build.TORCH_VERSION])
            raise Lacks("pip says nothing about torch {}; run make again".format(torch_build.TORCH_VERSION))
        say(torch_build.describe(build, gpu))
        self.needed_bytes = build.disk_bytes
        check_space(self.folder, build.disk_bytes)
        self.install([build.requirement], bar=True)

    def finish(self):
        """Write the stamp, last of all."""
        if os.path.exists(self.path(UNFINISHED)):
            os.remove(self.path(UNFINISHED))
        with open(self.path(STAMP), "w", encoding="utf-8") as stamp:
            stamp.write("torch {}, constraints.txt, {}\n".format(torch_build.TORCH_VERSION, EXTRAS))


def build(folder):
    """Build the whole environment in order; see the module's first lines.

    Raises:
        Lacks: When the machine lacks something.
    """
    check_python(sys.version_info)
    environment = Environment(folder)
    environment.begin()
    environment.install_torch()
    say("the packages of constraints.txt and luthier itself, about 0.4 GB")
    environment.install(["--constraint", "constraints.txt", "--editable", EXTRAS])
    environment.finish()
    say("ready in " + folder)


def main(arguments):
    """Build the environment named by the first argument (default ``.venv``) and return the exit status."""
    try:
        build(arguments[0] if arguments else ".venv")
    except Lacks as lack:
        say(str(lack))
        return LACKS
    except OSError as error:
        say("{}; nothing that was there is lost, run make again when it is mended".format(error))
        return LACKS
    except KeyboardInterrupt:
        say("interrupted; run make again and it starts clean")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
