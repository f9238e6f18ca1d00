"""Models behind an address in `generate` and `compare`: what is asked, whose key goes where, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.api import addresses
from luthier.api.compare import Comparing, compare
from luthier.api.generate import Generation, generate
from luthier.foundation.core.errors import EnvironmentLacks, EvalError, RecipeError
from tests.fixtures.scripted_server import Script, run_scripted_server

KEY = "LUTHIER_TEST_KEY"


@pytest.fixture
def script() -> Iterator[Script]:
    with run_scripted_server() as found:
        yield found


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Write twelve questions; the third's history has a tool call without an id, as training rows may."""
    lines = []
    for number in range(12):
        messages = [{"role": "user", "content": f"question {number}"}]
        if number == 2:
            call = {"type": "function", "function": {"name": "find", "arguments": "{}"}}
            messages += [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "3"}]
        lines.append({"id": f"row-{number}", "messages": [*messages, {"role": "assistant", "content": "yes"}]})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def answer(text: str) -> dict[str, object]:
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": {"completion_tokens": 1}}


def test_every_row_is_asked_once_and_answered_in_the_files_order(script: Script, rows: Path, tmp_path: Path) -> None:
    script.say(answer("yes"))
    found = generate(f"{script.url}#desk", rows, workspace=tmp_path, generation=Generation(max_new_tokens=5))
    assert [one["id"] for one in found] == [f"row-{number}" for number in range(12)]
    assert found[0] == {"id": "row-0", "answer": "yes", "finish_reason": "stop", "num_tokens": 1, "reference": "yes"}
    bodies = {body["messages"][0]["content"]: body for _, body, _ in script.asked}
    assert len(script.asked) == len(bodies) == 12
    assert all((body["max_tokens"], body["temperature"]) == (5, 0) for body in bodies.values())
    history = bodies["question 2"]["messages"]
    assert [message["role"] for message in history] == ["user", "assistant", "tool"]
    assert history[1]["tool_calls"][0]["id"] == history[2]["tool_call_id"] != ""
    assert not (tmp_path / ".luthier").exists(), "an address needs no workspace"


def test_two_addresses_are_compared_and_each_is_shown_its_own_key_alone(
    script: Script, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{KEY}_ONE", "first-secret")
    monkeypatch.setenv(f"{KEY}_TWO", "second-secret")
    script.say(answer("no"))
    with run_scripted_server() as other:
        other.say(answer("yes"))
        refs = (f"{script.url}#a", f"{other.url}#b")
        wanted = Comparing(api_key_envs=[f"{KEY}_ONE", f"{KEY}_TWO"])
        found = compare(*refs, rows, workspace=tmp_path, comparing=wanted)
        assert {headers["Authorization"] for _, _, headers in other.asked} == {"Bearer second-secret"}
    assert {headers["Authorization"] for _, _, headers in script.asked} == {"Bearer first-secret"}
    (difference,) = found["differences"]
    assert difference["value"] == pytest.approx(12 / 13), "thirteen questions; one asks for a call, which neither makes"
    assert (len(found["better"]), found["worse"]) == (12, [])
    assert "secret" not in json.dumps(found)


def test_metrics_that_weigh_texts_are_refused_before_anything_is_asked(
    script: Script, rows: Path, tmp_path: Path
) -> None:
    script.say(answer("yes"))
    with pytest.raises(EvalError) as caught:
        compare(f"{script.url}#a", f"{script.url}#b", rows, workspace=tmp_path, comparing=Comparing(["bits_per_byte"]))
    assert (caught.value.code, script.asked) == ("E-EVA-009", [])


@pytest.mark.parametrize(
    ("refs", "names"),
    [
        (("http://h/v1#a", "base"), ["A", "B"]),
        (("http://h/v1#a", "http://i/v1#b"), ["A"]),
        (("base", "./folder"), ["A"]),
    ],
)
def test_as_many_keys_as_addresses_or_none(refs: tuple[str, str], names: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        addresses.match_keys(refs, names)
    assert (caught.value.code, caught.value.problems[0].field) == ("E-REC-002", "api_key_env")
    assert addresses.match_keys(refs, []) == [None, None]


def test_keys_go_to_addresses_in_their_order() -> None:
    assert addresses.match_keys(["base", "http://h/v1#a"], ["A"]) == [None, "A"]


@pytest.mark.parametrize("value", [None, "", "  ", "ключ", "two\nlines"])
def test_a_key_that_is_none_is_refused_and_never_shown(value: str | None) -> None:
    with pytest.raises(EnvironmentLacks) as caught:
        addresses.read_key("NAME", {} if value is None else {"NAME": value})
    assert (caught.value.code, caught.value.exit_code) == ("E-SRV-010", 4)
    assert not (value or "").strip() or str(value) not in str(caught.value)
    assert addresses.read_key("NAME", {"NAME": " good "}) == "good"
    assert addresses.read_key(None, {"NAME": "other"}) == ""


def test_a_temperature_that_no_api_takes_is_refused_before_anything_is_asked(
    script: Script, rows: Path, tmp_path: Path
) -> None:
    script.say(answer("yes"))
    with pytest.raises(RecipeError, match="temperature 0 to 2"):
        generate(f"{script.url}#desk", rows, workspace=tmp_path, generation=Generation(temperature=3))
    assert script.asked == []


def test_a_server_that_fails_ends_the_command_with_one_typed_error(script: Script, rows: Path, tmp_path: Path) -> None:
    script.say({"error": {"message": "no model of this name"}}, status=404)
    with pytest.raises(EnvironmentLacks, match="no model of this name") as caught:
        generate(f"{script.url}#desk", rows, workspace=tmp_path)
    assert (caught.value.code, caught.value.exit_code) == ("E-DEP-006", 4)
