"""References that are addresses: ``http(s)://HOST/v1#MODEL``, one model of a server that speaks OpenAI's chat API."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.schema.noun import Noun

SCHEMES: Final = ("http://", "https://")
MAX_ADDRESS_CHARACTERS: Final = 2048


class Address(Noun):
    """One model behind one address.

    Attributes:
        ref: As it was written.
        url: What paths such as ``/chat/completions`` are appended to.
        model: What requests ask for.
    """

    ref: str
    url: str
    model: str


def is_address(ref: str) -> bool:
    """Say whether a reference is an address, a good one or not."""
    return ref.startswith(SCHEMES)


def parse_address(ref: str) -> Address | None:
    """Read an address; None for any other kind of reference. Nothing is sent.

    Raises:
        RecipeError: E-LIF-010 for one that names no host or no model, or that holds a password.
    """
    if not is_address(ref):
        return None
    url, _, model = ref.partition("#")
    problem, shown = _find_problem(url, model), ref
    if "@" in url:
        problem, shown = "it holds a user name or a password, which would be shown and stored", "(not shown)"
    if problem:
        raise RecipeError(
            "E-LIF-010",
            f"an address cannot be used: {problem}",
            got=shown[:MAX_ADDRESS_CHARACTERS],
            allowed="http(s)://HOST[:PORT]/v1#MODEL; a key comes from an environment variable",
            fix="luthier generate http://127.0.0.1:8000/v1#MODEL --data rows.jsonl --api-key-env LUTHIER_API_KEY",
        )
    return Address(ref=ref, url=url.rstrip("/"), model=model)


def refuse_address(ref: str) -> None:
    """Refuse an address where a model's own files are needed.

    Raises:
        RecipeError: E-LIF-011, or E-LIF-010 for an address that cannot be used anywhere.
    """
    address = parse_address(ref)
    if address is not None:
        raise RecipeError(
            "E-LIF-011",
            "a model behind an address has no files here",
            got=ref,
            allowed="base, run:ID, release:NAME, or the path of a release, a model or an adapter",
            fix=f"luthier chat '{ref}'",
        )


def _find_problem(url: str, model: str) -> str:
    """Say what an address lacks; empty where it can be asked."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:  # such as a port of letters, or half of an IPv6 address
        return str(error)
    if not host:
        return "it names no host"
    if len(url) + len(model) > MAX_ADDRESS_CHARACTERS:
        return f"it is longer than {MAX_ADDRESS_CHARACTERS} characters"
    if any(not letter.isprintable() or letter.isspace() for letter in url + model):
        return "it holds a blank or a control character"
    if parts.query:
        return "it has a query"
    return "" if model else "it names no model after '#'"
