"""Models behind an address: how one is opened, and how a person talks to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from luthier.foundation.core.errors import EnvironmentLacks, RecipeError
from luthier.foundation.schema.rows import Message
from luthier.foundation.schema.serving import ChatRequest

if TYPE_CHECKING:
    from luthier.instruments.remote.clients.openai_compatible import OpenAICompatible

ANSWER_SECONDS: Final = 600.0
NUM_RETRIES: Final = 5


class Turn(NamedTuple):
    """A piece of an answer in a chat; the last has a ``finish_reason``."""

    text: str
    num_tokens: int
    finish_reason: str | None


def is_address(ref: str) -> bool:
    """Say whether a reference is an address."""
    from luthier.lifecycle.addresses import is_address as is_one

    return is_one(ref)


@contextmanager
def open_address(ref: str, *, api_key_env: str | None = None) -> Iterator[OpenAICompatible]:
    """Open one model of a server; nothing is sent yet, and connections end with the context.

    Args:
        ref: ``http(s)://HOST/v1#MODEL``.
        api_key_env: Name of the environment variable that holds the key; None sends none.

    Raises:
        RecipeError: E-LIF-010 for an address that cannot be used.
        EnvironmentLacks: E-SRV-010 when the variable holds no key.
    """
    from luthier.instruments.remote.clients.openai_compatible import OpenAICompatible
    from luthier.instruments.remote.transport import Transport
    from luthier.lifecycle.addresses import parse_address

    address = parse_address(ref)
    if address is None:
        raise ValueError(ref)
    key = read_key(api_key_env, os.environ)
    with Transport(address.url, timeout_seconds=ANSWER_SECONDS, api_key=key, num_retries=NUM_RETRIES) as transport:
        yield OpenAICompatible(transport, address.model)


def match_keys(refs: Sequence[str], names: Sequence[str]) -> list[str | None]:
    """Give each address the environment variable of its key, in order; no key ever goes to another address.

    Args:
        refs: References; only addresses take a key.
        names: Environment variables: none, or one for each address.

    Raises:
        RecipeError: E-REC-002 when there are not as many names as addresses.
    """
    addresses = [ref for ref in refs if is_address(ref)]
    if names and len(names) != len(addresses):
        raise RecipeError(
            "E-REC-002",
            "'api_key_env' does not accept this value",
            got=f"{len(names)} variables for {len(addresses)} addresses",
            allowed="none, or one for each address, in their order",
            fix="leave --api-key-env out, or give it once for each address",
            field="api_key_env",
        )
    waiting = iter(names)
    return [next(waiting, None) if is_address(ref) else None for ref in refs]


def read_key(variable: str | None, environment: Mapping[str, str]) -> str:
    """Return the key that an environment variable holds; empty where no variable is named. It is shown nowhere.

    Raises:
        EnvironmentLacks: E-SRV-010 when it is not set, empty, or nothing that a header can carry.
    """
    if variable is None:
        return ""
    key = environment.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        found = "empty" if variable in environment else "not set"
        raise EnvironmentLacks(
            "E-SRV-010",
            f"the environment variable {variable!r} holds no key",
            got="letters beyond ASCII or control characters" if key else found,
            allowed="one key of printable ASCII letters",
            fix=f"export {variable}=KEY",
            field="api_key_env",
        )
    return key


def stream_turn(
    client: OpenAICompatible, messages: Sequence[Message], settings: Mapping[str, object]
) -> Iterator[Turn]:
    """Ask for one turn of a chat and yield it piece by piece.

    Args:
        client: From :func:`open_address`.
        messages: The conversation so far.
        settings: Further fields of a request: ``max_tokens``, ``temperature``, ``top_p``, ``seed``.

    Raises:
        EnvironmentLacks: E-DEP-006 when the server does not answer, or breaks off.
    """
    request = ChatRequest.model_validate({"model": client.model, "messages": tuple(messages), **settings})
    for piece in client.stream(request):
        yield Turn(piece.text, 0, piece.finish_reason)
