"""The exception tree: every failure that a user can meet, with one code and six parts each.

    LuthierError                    exit  stdlib kin
    ├── RecipeError                 2     ValueError
    ├── DataError                   2     ValueError
    ├── ModelError                  2     ValueError        a pickle, remote code, a bad tokenizer
    ├── PlanError                   2     ValueError
    ├── LicenceError                3     PermissionError
    ├── PolicyDenied                3     PermissionError   a gate, a policy, a certificate
    ├── TrainError                  1     RuntimeError
    ├── EvalError                   1     RuntimeError
    ├── DeployError                 1     RuntimeError
    ├── ServeError                  1     RuntimeError      a request or a server that cannot go on
    ├── StageFailed                 1     RuntimeError      a stage met what it does not know
    ├── StoreError                  4     OSError           disk, damaged or newer workspace
    ├── EnvironmentLacks            4     OSError           variable, network, device, make
    ├── MissingExtra                4     ImportError
    └── Interrupted                 130   RuntimeError      143 after SIGTERM; state is saved

To add an error: give it a code in ``codes.py``, a row in ``codes_table.py``, raise it with the parts
below, and raise it in a test. `docs/errors.md` is generated from the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luthier.foundation.core.codes import ErrorCode

MAX_SHOWN_CHARACTERS = 200


def shorten(value: object, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    """Show a value in one line of bounded length.

    Args:
        value: Whatever the user gave.
        limit: Greatest number of the value's characters shown.

    Returns:
        The value's text, cut in the middle where it is too long; what cannot be printed (line ends, terminal
        escapes, halves of surrogate pairs) is escaped, so that no input can move a cursor or break an encoding.
    """
    text = value if isinstance(value, str) else repr(value)
    if len(text) > limit:
        half = (limit - 5) // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, in the parts that a person needs to mend it.

    Attributes:
        code: Key into ``codes_table.EXPLANATIONS``.
        what: One sentence that names the field and the rule.
        got: The value as given; empty where nothing was given.
        origin: Where the value came from: ``file line N``, ``--set``, ``default``.
        needs: What is required, with units, where a resource is short.
        allowed: What would be accepted.
        fix: One change or command to paste.
        field: Dotted path of the field, where there is one.
    """

    code: ErrorCode
    what: str
    got: str = ""
    origin: str = ""
    needs: str = ""
    allowed: str = ""
    fix: str = ""
    field: str = ""

    def render(self) -> str:
        """Lay the parts out for a terminal, readable without colour."""
        got = f"{self.got} (from {self.origin})" if self.origin else self.got
        parts = [("got", got), ("needs", self.needs), ("allowed", self.allowed), ("fix", self.fix)]
        lines = [f"{self.code}: {self.what}"]
        lines += [f"  {name + ':':<9}{value}" for name, value in parts if value]
        lines.append(f"  {'docs:':<9}luthier explain {self.code}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, str]:
        """Return the parts as a JSON object; empty parts are left out."""
        names = ("code", "what", "field", "got", "origin", "needs", "allowed", "fix")
        return {name: str(getattr(self, name)) for name in names if getattr(self, name)}


class LuthierError(Exception):
    """Something that the user can understand and mend. Carries one problem or several."""

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        code: ErrorCode,
        what: str,
        *,
        fix: str,
        got: object = "",
        origin: str = "",
        needs: str = "",
        allowed: str = "",
        field: str = "",
    ) -> None:
        """Describe one problem; see :class:`Problem` for the parts."""
        problem = Problem(
            code=code, what=what, got=shorten(got), origin=origin, needs=needs, allowed=allowed, fix=fix, field=field
        )
        super().__init__(problem.render())
        self.problems: tuple[Problem, ...] = (problem,)

    @classmethod
    def collect(cls, problems: Iterable[Problem]) -> Self:
        """Make one error of many problems, all shown at once.

        Raises:
            ValueError: If there is no problem.
        """
        found = tuple(problems)
        if not found:
            message = "collect needs at least one problem"
            raise ValueError(message)
        error = cls.__new__(cls)
        Exception.__init__(error, "\n\n".join(problem.render() for problem in found))
        error.problems = found
        return error

    @property
    def code(self) -> ErrorCode:
        """Code of the first problem."""
        return self.problems[0].code

    def to_dict(self) -> dict[str, object]:
        """Return the error as the JSON object that console, server and ``--json`` share."""
        return {
            "error": {
                "type": type(self).__name__,
                "exit_code": self.exit_code,
                "problems": [problem.to_dict() for problem in self.problems],
            }
        }

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by problems, so that errors cross process borders whole."""
        return (_rebuild, (type(self), self.problems, getattr(self, "signal_number", None)))


def _rebuild(cls: type[LuthierError], problems: tuple[Problem, ...], signal_number: int | None) -> LuthierError:
    error = cls.collect(problems)
    if isinstance(error, Interrupted) and signal_number is not None:
        error.signal_number = signal_number
    return error


class RecipeError(LuthierError, ValueError):
    """A recipe or a command line says something that cannot be."""

    exit_code = 2


class DataError(LuthierError, ValueError):
    """Rows or files that cannot be used as they are."""

    exit_code = 2


class ModelError(LuthierError, ValueError):
    """A base model that is unsafe, incomplete or unfit."""

    exit_code = 2


class PlanError(LuthierError, ValueError):
    """A run that does not fit the machine or contradicts itself."""

    exit_code = 2


class LicenceError(LuthierError, PermissionError):
    """A licence that does not allow the declared use."""

    exit_code = 3


class PolicyDenied(LuthierError, PermissionError):
    """A gate, policy or certificate that says no."""

    exit_code = 3


class TrainError(LuthierError, RuntimeError):
    """A training run that failed."""


class EvalError(LuthierError, RuntimeError):
    """An evaluation that failed."""


class DeployError(LuthierError, RuntimeError):
    """A release step that failed."""


class ServeError(LuthierError, RuntimeError):
    """A request or a server that cannot go on."""


class StageFailed(LuthierError, RuntimeError):
    """A stage that met an error it does not know, or broke its contract."""


class StoreError(LuthierError, OSError):
    """A workspace that is full, damaged, locked or newer than this program."""

    exit_code = 4


class EnvironmentLacks(LuthierError, OSError):
    """The machine lacks something: a variable, the network, a device, a tool."""

    exit_code = 4


class MissingExtra(LuthierError, ImportError):
    """A feature whose optional packages are not installed."""

    exit_code = 4


class Interrupted(LuthierError, RuntimeError):
    """Stopped by Ctrl-C or SIGTERM after saving; running again goes on."""

    signal_number: int = 2

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """Return 128 plus the signal, as shells do: 130 or 143."""
        return 128 + self.signal_number
