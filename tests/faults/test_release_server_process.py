"""The server that a certificate asks: started, asked, ended; and what is said when it does not come up."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from luthier.foundation.core.errors import DeployError, EnvironmentLacks
from luthier.foundation.schema.rows import Message
from luthier.stages.deploy.served import Prompt
from luthier.stages.deploy.server_process import ServerProcess

ANSWERING = """
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = int(asked["messages"][0]["content"])
        content = {"content": [{"logprob": -1.0}]}
        body = {"prompt_token_ids": [number], "choices": [{"token_ids": [number + 1], "logprobs": content}]}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
open("words", "w").write(json.dumps(sys.argv[1:]))
print(json.dumps({"url": f"http://127.0.0.1:{server.server_address[1]}/v1", "models": ["desk"]}), flush=True)
sys.stdin.read()
open("ended", "w").write("by the pipe")
"""


def make_prompts(count: int) -> list[Prompt]:
    return [
        Prompt(str(n), (Message(role="user", content=str(n)),), (), np.array([n], dtype=np.int32)) for n in range(count)
    ]


def make_process(place: Path, program: str) -> ServerProcess:
    return ServerProcess(place, (sys.executable, "-c", program))


def test_answers_come_in_the_order_of_the_prompts_and_the_process_ends_with_its_pipe(tmp_path: Path) -> None:
    answers = make_process(tmp_path, ANSWERING)(tmp_path / "bundle", make_prompts(20))

    assert [answer.prompt_token_ids for answer in answers] == [(n,) for n in range(20)]
    assert (tmp_path / "ended").read_text() == "by the pipe"
    words = (tmp_path / "words").read_text()
    assert str(tmp_path / "bundle") in words
    assert all(option in words for option in ("--until-stdin-closes", "--json", "127.0.0.1"))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.exit('the port is taken')", "the port is taken"),
        ("print('hello', flush=True)", "hello"),
        ("print('{}', flush=True)", "{}"),
        ("pass", "it ended without a word"),
    ],
)
def test_a_server_that_does_not_come_up_is_told_with_what_it_said(tmp_path: Path, program: str, words: str) -> None:
    with pytest.raises(DeployError, match="did not start") as caught:
        make_process(tmp_path, program)(tmp_path, make_prompts(1))

    problem = caught.value.problems[0]
    assert problem.code == "E-DEP-003"
    assert words in problem.got
    assert problem.origin == str(tmp_path / "server.log")
    assert problem.fix.startswith(sys.executable)


def test_a_server_that_dies_while_it_is_asked_is_no_answer(tmp_path: Path) -> None:
    dying = ANSWERING.replace('number = int(asked["messages"][0]["content"])', "os._exit(1)")

    with pytest.raises(EnvironmentLacks) as caught:
        make_process(tmp_path, dying)(tmp_path, make_prompts(2))
    assert caught.value.code == "E-DEP-006"
