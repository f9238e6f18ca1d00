"""The unmodified openai SDK against a server in a process of its own: sync and async, whole and streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.fixtures.stub_server import run_stub_server

ASKED = [{"role": "user", "content": "one two three"}]
KEY = "the-servers-key"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_stub_server(api_keys=[KEY]) as (address, _):
        yield address


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=30) as made:
        yield made


def test_models_are_listed_and_found(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]

    assert "echo" in names
    assert client.models.retrieve("echo").owned_by == "luthier"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("../../etc/passwd")


def test_a_whole_answer(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="echo", messages=ASKED, n=2, logprobs=True, top_logprobs=2, seed=1, temperature=0.2, top_p=0.9, stop="#"
    )  # type: ignore[call-overload]

    assert [choice.message.content for choice in answer.choices] == ["one two three"] * 2
    assert [token.token for token in answer.choices[0].logprobs.content] == ["one ", "two ", "three"]
    assert answer.usage.total_tokens == 3 + 2 * 4
    assert answer._request_id


def test_a_streamed_answer_with_its_counts(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="echo", messages=ASKED, stream=True, stream_options={"include_usage": True}, max_completion_tokens=2
        )
    )  # type: ignore[call-overload]

    assert "".join(part.delta.content or "" for chunk in chunks for part in chunk.choices) == "one two "
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 2


def test_the_sdks_own_accumulator_gets_the_tool_call(client: OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    with client.chat.completions.stream(model="calls_tool", messages=ASKED, tools=[tool]) as stream:  # type: ignore[list-item]
        message = stream.get_final_completion().choices[0].message

    assert message.tool_calls is not None
    assert message.tool_calls[0].function.arguments == '{"city": "Rome"}'
    answered = [
        *ASKED,
        message.model_dump(),
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sun"},
    ]
    again = client.chat.completions.create(model="echo", messages=answered, tools=[tool])  # type: ignore[call-overload]
    assert again.choices[0].message.content == "sun"


def test_many_async_requests_at_once(url: str) -> None:
    async def ask(client: AsyncOpenAI, number: int) -> str:
        asked = [{"role": "user", "content": f"number {number}"}]
        if number % 2:
            stream = await client.chat.completions.create(model="slow", messages=asked, stream=True)  # type: ignore[call-overload]
            return "".join([part.delta.content or "" async for chunk in stream for part in chunk.choices])
        return (await client.chat.completions.create(model="slow", messages=asked)).choices[0].message.content  # type: ignore[call-overload, no-any-return]

    async def ask_all() -> list[str]:
        async with AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=30) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(24)))

    assert asyncio.run(ask_all()) == [f"number {number}" for number in range(24)]


def test_token_ids_come_as_extension_fields(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="echo", messages=ASKED, extra_body={"return_token_ids": True})  # type: ignore[call-overload]

    assert answer.prompt_token_ids == [4, 4, 5]
    assert answer.choices[0].token_ids == [4, 4, 5, 0]


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("nothing", openai.NotFoundError, "E-SRV-001"),
        ("no_room", openai.BadRequestError, "E-SRV-002"),
        ("full", openai.RateLimitError, "E-SRV-003"),
        ("draining", openai.InternalServerError, "E-SRV-004"),
        ("refused", openai.BadRequestError, "E-SRV-005"),
        ("fails_first", openai.InternalServerError, "E-SRV-006"),
    ],
)
def test_refusals_are_the_sdks_own_errors(client: OpenAI, model: str, error: type[Exception], code: str) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=ASKED)  # type: ignore[call-overload]

    assert caught.value.code == code  # type: ignore[attr-defined]


def test_a_stream_that_breaks_raises_in_the_sdk(client: OpenAI) -> None:
    with pytest.raises(openai.APIError, match="the worker died"):
        list(client.chat.completions.create(model="fails_later", messages=ASKED, stream=True))  # type: ignore[call-overload]


def test_another_key_is_refused(url: str) -> None:
    with OpenAI(base_url=url, api_key="another", max_retries=0) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_the_sdk_tries_a_full_queue_again_after_the_time_we_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("openai._base_client.time.sleep", waited.append)
    with OpenAI(base_url=url, api_key=KEY, max_retries=2) as client, pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="full", messages=ASKED)  # type: ignore[call-overload]

    assert waited == [1.0, 1.0]
