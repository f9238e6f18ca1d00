"""A thousand malformed requests: each is refused with a 4xx in our envelope, and the server answers the next as before.

The fuzzer starts from requests that are right and breaks one thing of the schema, or the bytes, per request.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Callable
from typing import Any, Final

import httpx2

from luthier.server.app import build_app
from luthier.server.chat_call import IGNORED
from luthier.server.options import ServerOptions
from tests.fixtures.stub_runtime import StubRuntime

NUM_REQUESTS: Final = 1_000
ODD: Final[list[Any]] = [
    None, True, False, 0, -1, 1, 10**9, -(10**18), 10**40, 0.5, -0.5, 1e308, "", "x", "../..", "\x00",
    "\u202e", "é" * 300, [], [None], [[]], ["x"] * 40, {}, {"": None}, {"type": "x"}, {"role": "user"}, [{}] * 3,
]  # fmt: skip
TOOL: Final = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "d",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "string", "enum": ["x"]}, "b": {"type": "array", "items": {"type": "null"}}},
            "required": ["a"],
        },
    },
}
RIGHT: Final[dict[str, Any]] = {
    "model": "echo",
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "find it"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "n": 1,
    "seed": 3,
    "stop": ["END"],
    "logprobs": True,
    "top_logprobs": 2,
    "stream": True,
    "stream_options": {"include_usage": True},
}


def list_places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside, itself left out."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, child in children for place in ((*path, key), *list_places(child, (*path, key)))]


def break_value(rng: random.Random) -> bytes:
    """Put something odd in the place of one or two values."""
    body = copy.deepcopy(RIGHT)
    for _ in range(rng.randint(1, 2)):
        *path, key = rng.choice(list_places(body))
        inner = body
        for step in path:
            inner = inner[step]
        inner[key] = rng.choice(ODD)
    return json.dumps(body).encode()


def break_keys(rng: random.Random) -> bytes:
    """Take a key away, misspell it, or add one."""
    body = copy.deepcopy(RIGHT)
    inner = rng.choice([body, rng.choice(body["messages"]), body["tools"][0], body["tools"][0]["function"]])
    key = rng.choice(list(inner))
    value = inner.pop(key)
    if rng.random() < 0.5:
        inner[rng.choice([key + "s", key.upper(), "\x00", "🙂", ""])] = value
    return json.dumps(body).encode()


def break_order(rng: random.Random) -> bytes:
    """Shuffle, repeat or drop messages."""
    body = copy.deepcopy(RIGHT)
    body["messages"] = rng.choices(body["messages"], k=rng.randint(0, 6))
    return json.dumps(body).encode()


def break_bytes(rng: random.Random) -> bytes:
    """Cut, flip or insert bytes."""
    body = bytearray(json.dumps(RIGHT).encode())
    place = rng.randrange(len(body))
    if rng.random() < 0.3:
        return bytes(body[:place])
    body[place : place + rng.randint(0, 3)] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 3)))
    return bytes(body)


def break_text(rng: random.Random) -> bytes:
    """Write what `json.dumps` never writes."""
    return rng.choice(
        [
            b'{"model": NaN}', b'{"n": Infinity}', b'{"n": -1e999}', b"[" * rng.randint(1, 50_000), b'{"a":' * 9_000,
            b'{"model": "echo", "model": "echo"}', b'{"model": "\\ud800"}', b"\x00" * 50,
            b'{"n": ' + b"9" * 9_000 + b"}",
        ]
    )  # fmt: skip


BREAKS: Final[list[Callable[[random.Random], bytes]]] = [
    break_value, break_value, break_value, break_keys, break_order, break_bytes, break_text,
]  # fmt: skip


async def send_all(bodies: list[bytes]) -> list[httpx2.Response]:
    app = build_app(StubRuntime(), ServerOptions(), extensions=())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
        return [await client.post("/v1/chat/completions", content=body) for body in bodies]


def test_a_thousand_malformed_requests_meet_no_5xx_and_the_server_answers_on() -> None:
    rng = random.Random(2026)  # noqa: S311  repeatable, not secret
    bodies = [rng.choice(BREAKS)(rng) for _ in range(NUM_REQUESTS)]

    *answers, last = asyncio.run(send_all([*bodies, json.dumps(RIGHT).encode()]))

    assert (last.status_code, "[DONE]" in last.text) == (200, True)
    for body, answer in zip(bodies, answers, strict=True):
        assert answer.status_code in {200, 400, 404}, (body, answer.text)
        if answer.status_code != 200:
            error = answer.json()["error"]
            assert error["code"].startswith("E-SRV-"), body
            assert error["message"].isprintable()
    refused = sum(answer.status_code != 200 for answer in answers)
    assert refused > NUM_REQUESTS * 0.8  # some odd values are right where they land
    codes = {answer.json()["error"]["code"] for answer in answers if answer.status_code != 200}
    assert codes >= {"E-SRV-001", "E-SRV-020", "E-SRV-023", "E-SRV-024", "E-SRV-025", "E-SRV-026", "E-SRV-027"}


def test_no_odd_value_of_any_known_field_meets_a_5xx() -> None:
    from luthier.server.chat_call import NEUTRAL, READ

    plain = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
    bodies = [json.dumps({**plain, field: odd}).encode() for field in sorted(READ | set(NEUTRAL)) for odd in ODD]

    assert {answer.status_code for answer in asyncio.run(send_all(bodies))} <= {200, 400, 404}
    assert IGNORED.isdisjoint(READ | set(NEUTRAL))
