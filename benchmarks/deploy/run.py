"""`make bench AREA=deploy`: what answering together wins, and what the gateway adds to a request.

``throughput_ratio_sequential``: tokens a second of 16 requests at once over those of the same requests one after
another, 64 new tokens each, both through the runtime that ``luthier serve`` runs. ``gateway_added_ms_p50``: the median
of a request over loopback HTTP to a server in another process whose runtime answers at once, less the median of asking
that runtime in process; the client's own part counts as the gateway's. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from stub import NAME, StubRuntime
from tokenizers import Tokenizer, models, pre_tokenizers

from luthier.foundation.schema.rows import Message
from luthier.foundation.schema.serving import ChatRequest
from luthier.instruments.engine.serving.runtime import RuntimeOptions, TorchChatRuntime
from luthier.instruments.engine.serving.sources import ServedSource

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "train")]
from record import REPOSITORY, describe, write_results  # noqa: E402  found by the line above
from workload import SMALL, TINY, write_model  # noqa: E402  found by the line above

STREAMS = 16
NEW_TOKENS = 64
PROMPT_WORDS = (16, 96)
TEMPLATE = "{% for message in messages %}{{ message['content'] + ' <end> ' }}{% endfor %}"
BODY = json.dumps({"model": NAME, "messages": [{"role": "user", "content": "is it so?"}]})


def write_chat_model(folder: Path, *, is_tiny: bool) -> Path:
    """Write the training benchmark's random model with a tokenizer of words and a chat template."""
    write_model(folder, is_tiny=is_tiny)
    vocabulary = (TINY if is_tiny else SMALL)["vocab_size"]
    words = {"<end>": 0, "<unk>": 1} | {f"w{n}": n for n in range(2, int(str(vocabulary)))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # noqa: S106  no password
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<end>",
        "pad_token": "<end>",
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def make_requests(num_requests: int, *, new_tokens: int, seed: int = 0) -> list[ChatRequest]:
    """Make prompts of random words, of uneven length; another seed gives other words and the same lengths.

    A prompt that was asked before is not computed again, so each measurement has its own.
    """
    lengths = np.random.default_rng(3).integers(*PROMPT_WORDS, num_requests)
    random = np.random.default_rng(seed)
    texts = [" ".join(f"w{n}" for n in random.integers(2, 500, length)) for length in lengths]
    return [
        ChatRequest(model="small", messages=(Message(role="user", content=text),), max_tokens=new_tokens)
        for text in texts
    ]


def measure_throughput(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return tokens a second of each round, one after another and together, in turns."""
    model = write_chat_model(folder / "model", is_tiny=options.tiny)
    source = ServedSource("small", "small", "0" * 64, "small", model, "0" * 64)
    runtime = TorchChatRuntime([source], RuntimeOptions())
    list(runtime.submit(make_requests(1, new_tokens=options.new_tokens)[0]))
    rates: dict[str, list[float]] = {"sequential": [], "together": []}
    for turn in range(options.rounds):
        requests = make_requests(STREAMS, new_tokens=options.new_tokens, seed=2 * turn + 1)
        started = time.perf_counter()
        count = sum(len(piece.token_ids) for request in requests for piece in runtime.submit(request))
        rates["sequential"].append(count / (time.perf_counter() - started))
        requests = make_requests(STREAMS, new_tokens=options.new_tokens, seed=2 * turn + 2)
        started = time.perf_counter()
        answerings = [runtime.submit(request) for request in requests]
        count = sum(len(piece.token_ids) for answering in answerings for piece in answering)
        rates["together"].append(count / (time.perf_counter() - started))
    runtime.close(drain_seconds=0)
    return {"streams": STREAMS, "new_tokens": options.new_tokens, "tokens_per_second": rates}


def measure_gateway(folder: Path, num_requests: int) -> dict[str, Any]:
    """Return milliseconds of requests over HTTP and in process."""
    command = [sys.executable, str(HERE / "stub.py"), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        address = urlparse(server.stdout.readline().strip())  # type: ignore[union-attr]  a pipe was asked for
        connection = http.client.HTTPConnection(str(address.hostname), address.port)
        served = [_time(lambda: _post(connection)) for _ in range(num_requests)]
        connection.close()
        server.stdin.close()  # type: ignore[union-attr]  a pipe was asked for
    runtime = StubRuntime()
    request = make_requests(1, new_tokens=1)[0]
    direct = [_time(lambda: list(runtime.submit(request))) for _ in range(num_requests)]
    warmup = num_requests // 10
    return {"http": describe(served[warmup:]), "in_process": describe(direct[warmup:])}


def _time(act: Any) -> float:
    started = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - started)


def _post(connection: http.client.HTTPConnection) -> None:
    connection.request("POST", "/v1/chat/completions", BODY, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != http.client.OK:
        raise RuntimeError(text)


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is measured, in turns")
    parser.add_argument("--requests", type=int, default=500, help="requests to the gateway")
    parser.add_argument("--new-tokens", type=int, default=NEW_TOKENS, help="length of an answer")
    parser.add_argument("--tiny", action="store_true", help="a model for a smoke test; its ratio means nothing")
    parser.add_argument("--keep", action="store_true", help="write the results file of a tiny run too")
    return parser.parse_args()


def main() -> None:
    """Measure both and print the named figures, last."""
    options = read_options()
    with tempfile.TemporaryDirectory() as folder:
        throughput = measure_throughput(Path(folder), options)
        gateway = measure_gateway(Path(folder), options.requests)
    rates = {name: statistics.median(values) for name, values in throughput["tokens_per_second"].items()}
    figures = {
        "throughput_ratio_sequential": round(rates["together"] / rates["sequential"], 3),
        "gateway_added_ms_p50": round(gateway["http"]["median"] - gateway["in_process"]["median"], 3),
    }
    print(f"tokens a second: {rates}; milliseconds a request: {gateway}", file=sys.stderr, flush=True)
    if not options.tiny or options.keep:
        path = write_results("deploy", ratios=figures, cases={"throughput": throughput, "gateway": gateway})
        print(f"results: {path.relative_to(REPOSITORY)}", file=sys.stderr, flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
