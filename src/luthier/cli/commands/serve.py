"""``luthier serve`` and ``luthier chat``: models that answer live, over HTTP or line by line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.face import Face, command

if TYPE_CHECKING:
    from luthier.api.addresses import Turn
    from luthier.foundation.schema.rows import Message
    from luthier.foundation.schema.serving import ChatRuntime

precision_option = click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="What weights are held in.",
)


@command()
@click.argument("refs", metavar="[REF...]", nargs=-1)
@click.option("--host", default="127.0.0.1", show_default=True, help="Any but loopback needs keys.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--api-key-env", metavar="NAME", help="Environment variable with one key, or several with commas.")
@click.option(
    "--max-queue", metavar="N", type=click.IntRange(1), default=64, show_default=True, help="Requests that wait."
)
@click.option("--max-rows", metavar="N", type=click.IntRange(1), default=32, show_default=True, help="Answers at once.")
@click.option(
    "--max-cache-tokens",
    metavar="N",
    type=click.IntRange(1),
    default=32_768,
    show_default=True,
    help="Tokens of all answers at once, prompts included; bounds memory.",
)
@precision_option
@click.option("--keep-content", is_flag=True, help="Keep what was said in telemetry, redacted.")
@click.option("--until-stdin-closes", is_flag=True, help="End when standard input ends, as a child process should.")
def serve(face: Face, *, refs: tuple[str, ...], api_key_env: str | None, **given: Any) -> None:  # noqa: ANN401
    """Serve models over the OpenAI chat API until told to stop.

    REF is `base`, `run:ID`, `release:NAME[@DIGEST]`, or the path of a model folder or a PEFT adapter; without one, the
    newest release of each name. Adapters of one base share one load of it; requests choose by `model`.
    """
    from luthier.api import serve as api
    from luthier.server.process import ServerOptions, open_listener, serve_http

    runtime: list[ChatRuntime] = []
    options = ServerOptions(
        api_keys=api.read_keys(api_key_env, os.environ),
        announce=lambda url: _announce(face, url, runtime[0]),
        **{name: given[name] for name in ("host", "port", "keep_content", "until_stdin_closes")},
    )
    serving = api.Serving(**{name: given[name] for name in ("precision", "max_queue", "max_rows", "max_cache_tokens")})
    with open_listener(options) as listener:  # the port first: it is cheap, and a model is not
        runtime.append(api.open_runtime(refs, workspace=face.workspace, serving=serving))
        serve_http(runtime[0], options, workspace=face.workspace, listener=listener)


def _announce(face: Face, url: str, runtime: ChatRuntime) -> None:
    """Say on one line of stdout that requests are taken, for whoever started this process."""
    names = [model.name for model in runtime.models()]
    line = (
        json.dumps({"url": url, "models": names}, ensure_ascii=False) if face.is_json else f"{', '.join(names)}: {url}"
    )
    click.echo(line)
    sys.stdout.flush()


@command()
@click.argument("ref", metavar="REF")
@click.option("--system", metavar="TEXT", help="A system message before the first turn.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer.  [default: what the model has room for]")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True, help="0 answers greedily.")
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="When drawing."
)
@click.option("--seed", type=click.IntRange(0), help="Seed of the draws.")
@precision_option
@click.option("--api-key-env", metavar="NAME", help="Environment variable with an address's key.")
def chat(face: Face, *, ref: str, system: str | None, **settings: Any) -> None:  # noqa: ANN401
    """Talk to a model line by line; answers appear as they are computed.

    REF is as for `serve`, or `http://HOST/v1#MODEL`. Each line of standard input is a turn, with all turns before it;
    `/reset` forgets them, `/exit` ends. With --json, each turn gives one object a line.
    """
    from luthier.foundation.schema.rows import Message

    start = [Message(role="system", content=system)] if system else []
    history = list(start)
    with _open_talk(face, ref, **settings) as talk:
        for line in _read_lines():
            if line == "/exit":
                break
            if line == "/reset":
                history = list(start)
                continue
            history.append(Message(role="user", content=line))
            history.append(_show_turn(face, talk(tuple(history))))


@contextmanager
def _open_talk(
    face: Face,
    ref: str,
    *,
    precision: Any,  # noqa: ANN401  click's choice
    api_key_env: str | None,
    **settings: Any,  # noqa: ANN401  fields of a request
) -> Iterator[Callable[[tuple[Message, ...]], Iterator[Turn]]]:
    """Give what answers a conversation: a model of our own, or one behind an address."""
    from luthier.api import addresses
    from luthier.api import serve as api

    (key,) = addresses.match_keys([ref], [api_key_env] if api_key_env else [])
    if addresses.is_address(ref):
        with addresses.open_address(ref, api_key_env=key) as client:
            yield lambda messages: addresses.stream_turn(client, messages, settings)
        return
    runtime = api.open_runtime([ref], workspace=face.workspace, serving=api.Serving(precision=precision, max_rows=1))
    try:
        yield lambda messages: _stream_own(runtime, messages, settings)
    finally:
        runtime.close(drain_seconds=0)


def _stream_own(runtime: ChatRuntime, messages: tuple[Message, ...], settings: dict[str, Any]) -> Iterator[Turn]:
    from luthier.api.addresses import Turn
    from luthier.foundation.schema.serving import ChatRequest

    request = ChatRequest(model=runtime.models()[0].name, messages=messages, **settings)
    answering = runtime.submit(request)
    try:
        for piece in answering:
            yield Turn(piece.text, len(piece.token_ids), piece.finish_reason)
    finally:
        answering.cancel()


def _read_lines() -> Iterable[str]:
    """Yield what is typed; a prompt appears only where somebody looks at a terminal."""
    is_seen = sys.stdin.isatty() and sys.stderr.isatty()
    while True:
        if is_seen:
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _show_turn(face: Face, pieces: Iterator[Turn]) -> Message:
    """Stream one answer to stdout and return it as a turn; where nobody counts its tokens, none are told."""
    from luthier.foundation.schema.rows import Message

    text, num_tokens, finish_reason = "", 0, None
    for piece in pieces:
        text, num_tokens, finish_reason = text + piece.text, num_tokens + piece.num_tokens, piece.finish_reason
        if piece.text and not face.is_json:
            click.echo(piece.text, nl=False)
            sys.stdout.flush()
    if face.is_json:
        counted = {"num_tokens": num_tokens} if num_tokens else {}
        click.echo(json.dumps({"answer": text, "finish_reason": finish_reason, **counted}, ensure_ascii=False))
    else:
        click.echo("")
    sys.stdout.flush()
    return Message(role="assistant", content=text)
