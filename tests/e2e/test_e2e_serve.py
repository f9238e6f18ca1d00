"""``luthier serve`` as a person starts it, on a tiny model, asked by the unmodified SDK; the oracle is transformers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch
from openai import OpenAI
from transformers import AutoModelForCausalLM

from tests.fixtures.tiny_models import build_tiny

ASKED: list[Any] = [{"role": "user", "content": "what is the balance of my card"}]


class Served:
    """A running server and where its model's files are."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.client = OpenAI(base_url=url, api_key="unused", max_retries=0, timeout=120)

    def ask(self, **given: Any) -> Any:
        given = {"model": self.folder.name, "messages": ASKED, "max_tokens": 12, **given}
        return self.client.chat.completions.create(**given, extra_body={"return_token_ids": True})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("serve")
    folder = build_tiny("llama", place / "tiny", seed=3)
    command = [sys.executable, "-m", "luthier", "serve", str(folder), "--port", "0", "--json", "--until-stdin-closes"]
    process = subprocess.Popen(
        [*command, "--workspace", str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=60)
        told = json.loads(line)
        assert told["models"] == ["tiny"]
        served = Served(folder, told["url"])
        yield served
        served.client.close()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in said) == (0, False), said
    finally:
        process.kill()
        process.communicate(timeout=60)


def test_a_greedy_answer_is_the_models_own(served: Served) -> None:
    answer = served.ask(temperature=0, logprobs=True, top_logprobs=2)
    choice = answer.choices[0]
    model = AutoModelForCausalLM.from_pretrained(served.folder, dtype=torch.float32).eval()
    ids = torch.tensor([[*answer.prompt_token_ids, *choice.token_ids]])
    with torch.no_grad():
        logps_TV = model(ids).logits[0].float().log_softmax(-1)
    start = len(answer.prompt_token_ids) - 1

    for place, (token, scored) in enumerate(zip(choice.token_ids, choice.logprobs.content, strict=True)):
        best = logps_TV[start + place].max().item()
        assert logps_TV[start + place, token].item() == pytest.approx(best, abs=1e-4)
        assert scored.logprob == pytest.approx(best, abs=1e-4)
        assert scored.top_logprobs[0].logprob == pytest.approx(best, abs=1e-4)
    assert answer.usage.completion_tokens == len(choice.token_ids)


def test_a_stream_says_what_the_whole_answer_says(served: Served) -> None:
    settings = {"temperature": 1.0, "seed": 5, "n": 2}
    whole = served.ask(**settings)
    chunks = list(served.ask(**settings, stream=True, stream_options={"include_usage": True}))

    for choice in whole.choices:
        parts = [part for chunk in chunks for part in chunk.choices if part.index == choice.index]
        assert "".join(part.delta.content or "" for part in parts) == choice.message.content
        assert parts[-1].finish_reason == choice.finish_reason
    assert chunks[-1].usage == whole.usage


def test_what_cannot_be_answered_is_refused_by_name(served: Served) -> None:
    with pytest.raises(openai.NotFoundError):
        served.ask(model="../tiny")
    with pytest.raises(openai.BadRequestError) as caught:
        served.ask(messages=[{"role": "user", "content": "word " * 5_000}])
    assert caught.value.code == "E-SRV-002"


def test_a_client_that_leaves_is_noted_and_the_next_is_answered(served: Served) -> None:
    root = served.url.removesuffix("/v1")
    with served.ask(stream=True, n=8, max_tokens=400, temperature=1.0, seed=1) as stream:
        next(iter(stream))

    deadline = time.monotonic() + 60
    while 'status="499"' not in httpx2.get(f"{root}/metrics", timeout=60).text:
        assert time.monotonic() < deadline, "the server never noticed"
        time.sleep(0.05)
    assert served.ask(max_tokens=1).choices


def test_requests_leave_their_traces(served: Served) -> None:
    served.ask(max_tokens=1)
    root = served.url.removesuffix("/v1")

    assert httpx2.get(f"{root}/readyz").json() == {"status": "ready"}
    assert "luthier_requests_total{" in httpx2.get(f"{root}/metrics").text
