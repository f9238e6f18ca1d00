"""The body of a chat request, field by field: what is read, what is refused and with which code and field."""

from __future__ import annotations

import inspect
import re
from typing import Any

import openai
import pytest
from openai.types.chat import completion_create_params
from pydantic import BaseModel

from luthier.foundation.core.errors import ServeError
from luthier.server.chat_call import IGNORED, NEUTRAL, READ, ChatCall, read_chat_call
from luthier.server.options import ServerOptions


class Weather(BaseModel):
    """The weather of a city."""

    city: str


USER = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKS_TOOL = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def read(**fields: Any) -> ChatCall:
    return read_chat_call({"model": "m", "messages": [USER], **fields}, ServerOptions())


def refuse(**fields: Any) -> tuple[str, str]:
    """Return code and field of the refusal; every part of the message must be there."""
    with pytest.raises(ServeError) as caught:
        read(**fields)
    problem = caught.value.problems[0]
    assert problem.what
    assert problem.allowed
    assert problem.fix
    return problem.code, problem.field


def test_every_field_of_the_sdk_is_read_ignored_or_refused_by_name() -> None:
    """A field that the SDK can send and we do not know would be called a misspelling."""
    source = inspect.getsource(completion_create_params.CompletionCreateParamsBase)
    sdk = set(re.findall(r"^    (\w+): ", source, re.MULTILINE))

    assert sdk - READ - IGNORED - set(NEUTRAL) == set()
    assert READ - sdk == {"return_token_ids", "stream", "tools_as_given"}  # `stream` stands in the SDK's subclasses


def test_a_bare_request_is_greedy_and_asks_for_one_answer() -> None:
    request = read().request

    assert (request.temperature, request.top_p, request.n) == (0.0, 1.0, 1)
    assert (request.max_tokens, request.seed, request.top_logprobs) == (None, None, None)
    assert (request.stop, request.tools, request.tool_choice) == ((), (), "auto")


def test_all_fields_reach_the_request() -> None:
    call = read(
        temperature=0.5, top_p=0.9, n=3, seed=-7, max_completion_tokens=9, stop=["a", "b"], logprobs=True,
        top_logprobs=4, tools=[TOOL], tool_choice="none", stream=True, stream_options={"include_usage": True},
        return_token_ids=True,
    )  # fmt: skip

    request = call.request
    assert (request.temperature, request.top_p, request.n, request.seed) == (0.5, 0.9, 3, -7)
    assert (request.max_tokens, request.stop, request.top_logprobs) == (9, ("a", "b"), 4)
    assert (request.tools, request.tool_choice) == ((TOOL,), "none")
    assert (call.is_streaming, call.with_usage, call.with_token_ids) == (True, True, True)


def test_null_is_the_same_as_absent() -> None:
    optional = (READ | IGNORED | set(NEUTRAL)) - {"model", "messages"}

    assert read(**dict.fromkeys(optional)) == read()


def test_what_changes_no_answer_is_ignored_and_what_asks_for_nothing_is_allowed() -> None:
    assert read(user="u", metadata={"a": "b"}, store=True, parallel_tool_calls=False, service_tier="auto") == read()
    assert read(frequency_penalty=0, presence_penalty=0.0, logit_bias={}, response_format={"type": "text"}) == read()


@pytest.mark.parametrize("stop", ["end", ["end"]])
def test_one_stop_text_may_be_a_text_or_a_list(stop: object) -> None:
    assert read(stop=stop).request.stop == ("end",)


def test_logprobs_alone_asks_for_no_others() -> None:
    assert read(logprobs=True).request.top_logprobs == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 10**9}, {"n": 0}, {"n": -1}, {"n": True}, {"n": 1.0}, {"n": "2"}, {"n": [1]},
        {"max_tokens": 10**9}, {"max_tokens": 0}, {"max_tokens": -5}, {"max_completion_tokens": 1.5},
        {"temperature": -0.1}, {"temperature": 2.1}, {"temperature": "hot"}, {"temperature": True},
        {"top_p": 0}, {"top_p": -1}, {"top_p": 1.5},
        {"seed": 2**63}, {"seed": 0.5},
        {"stop": ""}, {"stop": [""]}, {"stop": ["a"] * 5}, {"stop": 3}, {"stop": ["x" * 257]}, {"stop": {"a": 1}},
        {"top_logprobs": 2}, {"logprobs": "yes"}, {"logprobs": 5}, {"stream": 1}, {"return_token_ids": "x"},
        {"tool_choice": "maybe"}, {"tool_choice": 3},
        {"model": None}, {"model": ""}, {"model": 7}, {"model": "x" * 257},
        {"stream_options": {"include_usage": True}}, {"stream_options": True, "stream": True},
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_refused_with_its_field(fields: dict[str, Any]) -> None:
    assert refuse(**fields) == ("E-SRV-023", next(iter(fields)))


def test_two_different_caps_contradict_each_other() -> None:
    assert refuse(max_tokens=5, max_completion_tokens=6) == ("E-SRV-023", "max_tokens")
    assert read(max_tokens=5, max_completion_tokens=5).request.max_tokens == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"frequency_penalty": 0.5}, {"presence_penalty": -1}, {"presence_penalty": False}, {"logit_bias": {"5": 1}},
        {"response_format": {"type": "json_object"}}, {"modalities": ["audio"]}, {"functions": [{}]},
        {"function_call": "auto"}, {"reasoning_effort": "low"}, {"audio": {}}, {"prediction": {}},
        {"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    ],
)  # fmt: skip
def test_what_is_not_built_is_refused_and_not_ignored(fields: dict[str, Any]) -> None:
    assert refuse(**fields) == ("E-SRV-025", next(iter(fields)))


def test_a_misspelt_field_is_refused_with_the_nearest() -> None:
    with pytest.raises(ServeError, match="nearest is 'temperature'") as caught:
        read(temperatur=1)

    assert caught.value.problems[0].field == "temperatur"


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        (None, "messages"),
        ([], "messages"),
        ("hello", "messages"),
        ({"role": "user"}, "messages"),
        (["hello"], "messages[0]"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([{"role": "function", "name": "f", "content": "x"}], "messages[0].role"),
        ([{"role": ["user"], "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "text", "text": 1}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": "x", "tool_call_id": "c1"}], "messages[0].tool_call_id"),
        ([{"role": "user", "content": "x", "tool_calls": [CALL]}], "messages[0].tool_calls"),
        ([{"role": "system", "content": "x"}], "messages"),
        ([USER, {"role": "system", "content": "x"}, USER], "messages[1].role"),
        ([USER, {"role": "assistant", "content": "x"}], "messages[1].role"),
        ([{"role": "tool", "content": "x", "tool_call_id": "c1"}, USER], "messages[0].tool_call_id"),
        ([USER, ASKS_TOOL, {"role": "tool", "content": "x"}], "messages[2].tool_call_id"),
        ([USER, ASKS_TOOL, {"role": "tool", "content": "x", "tool_call_id": "c2"}], "messages[2].tool_call_id"),
        ([USER, ASKS_TOOL, USER], "messages[2]"),
        ([USER, {**ASKS_TOOL, "tool_calls": [CALL, CALL]}, USER], "messages[1].tool_calls"),
        ([USER, {**ASKS_TOOL, "tool_calls": [{"id": "c1"}]}, USER], "messages[1].tool_calls[0]"),
        ([USER, {**ASKS_TOOL, "tool_calls": [{**CALL, "id": ""}]}, USER], "messages[1].tool_calls[0]"),
        ([USER] * 1001, "messages"),
    ],
)
def test_messages_that_are_no_conversation_are_refused_at_their_place(messages: object, field: str) -> None:
    assert refuse(messages=messages) == ("E-SRV-026", field)


def test_a_call_is_answered_once() -> None:
    answer = {"role": "tool", "content": "x", "tool_call_id": "c1"}

    assert len(read(messages=[USER, ASKS_TOOL, answer]).request.messages) == 3
    assert refuse(messages=[USER, ASKS_TOOL, answer, answer]) == ("E-SRV-026", "messages[3].tool_call_id")


def test_a_message_that_an_sdk_sends_back_is_read() -> None:
    """`message.model_dump()` of an answer, put into the next request, as everybody does."""
    sent_back = {
        "role": "assistant", "content": "hi", "refusal": None, "annotations": None, "audio": None,
        "function_call": None, "tool_calls": None,
    }  # fmt: skip

    request = read(messages=[USER, sent_back, USER]).request
    assert [message.role for message in request.messages] == ["user", "assistant", "user"]


def test_images_and_unknown_keys_of_messages_are_refused() -> None:
    image = {"type": "image_url", "image_url": {"url": "http://x"}}

    assert refuse(messages=[{"role": "user", "content": [image]}]) == ("E-SRV-025", "messages[0].content[0].type")
    assert refuse(messages=[{**USER, "contents": 1}]) == ("E-SRV-024", "messages[0].contents")
    assert refuse(messages=[{**USER, "audio": {"id": "a"}}]) == ("E-SRV-025", "messages[0].audio")


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ("object", ""),
        ({"type": "string"}, ""),
        ({"type": "thing"}, ""),
        ({"type": "object", "properties": []}, ".properties"),
        ({"properties": {"a": {"type": "text"}}}, ".properties.a.type"),
        ({"properties": {"a": {"type": ["string", 3]}}}, ".properties.a.type"),
        ({"properties": {"a": 3}}, ".properties.a"),
        ({"properties": {"a": {"enum": "x"}}}, ".properties.a.enum"),
        ({"properties": {"a": {"enum": []}}}, ".properties.a.enum"),
        ({"required": "a"}, ".required"),
        ({"required": [1]}, ".required"),
        ({"properties": {"a": {"items": 4}}}, ".properties.a.items"),
        ({"properties": {"a": {"anyOf": []}}}, ".properties.a.anyOf"),
        ({"properties": {"a": {"anyOf": [1]}}}, ".properties.a.anyOf[0]"),
        ({"properties": {"a": {"minimum": "0"}}}, ".properties.a.minimum"),
        ({"properties": {"a": {"minLength": -1}}}, ".properties.a.minLength"),
        ({"properties": {"a": {"description": 1}}}, ".properties.a.description"),
        ({"additionalProperties": "no"}, ".additionalProperties"),
        ({"$defs": {"x": {"type": 1}}}, ".$defs.x.type"),
    ],
)
def test_parameters_that_are_no_schema_are_refused_at_their_place(parameters: object, place: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}

    assert refuse(tools=[tool]) == ("E-SRV-027", f"tools[0].function.parameters{place}")


@pytest.mark.parametrize(
    "tools",
    [
        "f", {}, [3], [{}], [{"type": "function"}], [{"type": "retrieval", "function": {}}],
        [{"type": "function", "function": {"name": "no spaces"}}], [{"type": "function", "function": {}}],
        [{"type": "function", "function": {"name": "x" * 65}}], [TOOL, TOOL], [TOOL] * 129,
    ],
)  # fmt: skip
def test_what_is_no_tool_is_refused(tools: object) -> None:
    assert refuse(tools=tools)[0] == "E-SRV-027"


def test_a_schema_that_a_typed_client_makes_is_read() -> None:
    """Of the kinds that pydantic writes: references, unions, nested objects, tuples, bounds, defaults."""
    parameters = {
        "$defs": {"Side": {"enum": ["left", "right"], "title": "Side", "type": "string"}},
        "type": "object",
        "properties": {
            "side": {"$ref": "#/$defs/Side"},
            "size": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}], "default": None},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "maxItems": 2},
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            "free": {"type": "object", "additionalProperties": True},
        },
        "required": ["side"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "a.b-c_1", "description": "d", "parameters": parameters}}

    assert read(tools=[tool]).request.tools == (tool,)


def test_keys_of_a_tool_that_we_do_not_know_reach_the_model() -> None:
    """A model that was trained on tools with `returns` is asked with them."""
    tool = {"function": {"name": "f", "returns": {"type": "number"}}}

    assert read(tools=[tool]).request.tools == (tool,)


def test_strict_is_taken_as_sdks_send_it_and_reaches_the_model() -> None:
    """OpenAI's SDK writes it into every tool that it makes of a pydantic class."""
    (tool,) = [dict(openai.pydantic_function_tool(Weather))]

    assert tool["function"]["strict"] is True
    assert read(tools=[tool]).request.tools == (tool,)
    assert refuse(tools=[{"function": {"name": "f", "strict": "yes"}}])[0] == "E-SRV-023"


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "get weather", "arguments": ["city"]},
        {"type": "function", "function": {"name": "f", "parameters": {"city": "text", "required": "city"}}},
    ],
)
def test_a_model_is_asked_with_the_tools_that_it_was_trained_with_be_they_schemas_or_none(tool: dict[str, Any]) -> None:
    assert refuse(tools=[tool])[0] == "E-SRV-027"
    assert read(tools=[tool, tool], tools_as_given=True).request.tools == (tool, tool)
    assert [refuse(tools=tools, tools_as_given=True)[0] for tools in ("f", {}, [3], [tool] * 129)] == ["E-SRV-027"] * 4
    assert refuse(tools=[tool], tools_as_given="yes")[0] == "E-SRV-023"
