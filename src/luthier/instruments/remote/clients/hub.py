"""A model hub that speaks Hugging Face's HTTP API: what a repository holds at a commit, and its files, resumed.

Written on plain HTTP, not on ``huggingface_hub``: that library begins a file anew when its process was killed, and
reads addresses and tokens once, when it is imported.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import httpx2

from luthier.foundation.core.errors import EnvironmentLacks, LuthierError, ModelError
from luthier.foundation.core.hashing import sha256_file
from luthier.instruments.remote.transport import CONNECT_SECONDS, is_loopback

DEFAULT_ENDPOINT: Final = "https://huggingface.co"
ATTEMPTS: Final = 5  # in a row without one new byte
LONGEST_PAUSE_SECONDS: Final = 16.0
CHUNK_BYTES: Final = 1 << 20
BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
TRUE_WORDS: Final = frozenset({"1", "ON", "YES", "TRUE"})  # as huggingface_hub reads its variables


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository.

    Attributes:
        digest: sha256 of the content, or git's sha1 of it as a blob, whichever the hub states.
    """

    name: str
    num_bytes: int
    digest: str

    def is_at(self, path: Path) -> bool:
        """Tell whether a file on disk is this one, to the byte."""
        if path.stat().st_size != self.num_bytes:
            return False
        if len(self.digest) == hashlib.sha256().digest_size * 2:
            return sha256_file(path) == self.digest
        found = hashlib.sha1(b"blob %d\0" % self.num_bytes, usedforsecurity=False)
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                found.update(chunk)
        return found.hexdigest() == self.digest


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository at one commit; ``licence`` is what its model card says, empty where it says nothing."""

    repository: str
    commit: str
    licence: str
    files: tuple[HubFile, ...]


class Hub:
    """One hub.

    Args:
        endpoint: Address without a path, as ``HF_ENDPOINT`` has it.
        token: Sent to this address alone, never to where it redirects, never shown.
        timeout_seconds: Greatest time between two bytes of an answer.
        pause: Waits between attempts; tests replace it.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        token: str = "",
        timeout_seconds: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open a pool of connections; nothing is sent yet."""
        self.endpoint = endpoint.rstrip("/")
        self._pause = pause
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(timeout_seconds, connect=CONNECT_SECONDS),
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {}),
            trust_env=not is_loopback(endpoint),
            follow_redirects=True,  # httpx takes the token off where the origin changes
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def describe(self, repository: str, revision: str) -> HubModel:
        """Ask what a repository holds at a branch, tag or commit.

        Raises:
            ModelError: E-MOD-004 for a repository or revision that the hub does not have.
            EnvironmentLacks: E-ENV-007 where it wants a token or accepted terms, E-ENV-004 where it does not answer.
        """
        url = f"{self.endpoint}/api/models/{quote(repository)}/revision/{quote(revision, safe='')}?blobs=true"
        answers: list[httpx2.Response] = []

        def ask() -> bool:
            response = self._client.get(url)
            _check_status(response, url)
            answers.append(response)
            return True

        self._insist(url, ask)
        try:
            return _read_model(repository, answers[0].json())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _not_brought(url, f"an answer that is not a repository's: {type(error).__name__}: {error}") from error

    def download(
        self, model: HubModel, file: HubFile, target: Path, *, on_bytes: Callable[[int], None] = lambda _: None
    ) -> None:
        """Bring one file whole; bytes that already lie at the target are not fetched again.

        Args:
            model: From :meth:`describe`.
            file: One of its files.
            target: Where it goes. An interrupted call leaves what came; the next goes on from there.
            on_bytes: Told how many bytes came; negative where a server began anew.

        Raises:
            ModelError: E-MOD-006 when what came is not what the hub stated; nothing is left at the target.
            EnvironmentLacks: E-ENV-004 when it does not come, E-ENV-007 where it may not.
        """
        url = f"{self.endpoint}/{quote(model.repository)}/resolve/{model.commit}/{quote(file.name)}"
        target.touch()

        def go_on() -> bool:
            if target.stat().st_size < file.num_bytes:
                self._append(url, target, file.num_bytes, on_bytes)
            return target.stat().st_size >= file.num_bytes

        self._insist(url, go_on, size=lambda: target.stat().st_size)
        if not file.is_at(target):
            got = f"{target.stat().st_size} bytes, sha256 {sha256_file(target)}"
            target.unlink()
            raise ModelError(
                "E-MOD-006",
                f"{file.name} is not the file that the hub states",
                got=got,
                origin=url,
                allowed=f"{file.num_bytes} bytes, digest {file.digest}",
                fix=f"luthier model pull {model.repository}@{model.commit}",
            )

    def _append(self, url: str, target: Path, limit: int, on_bytes: Callable[[int], None]) -> None:
        have = target.stat().st_size
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._client.stream("GET", url, headers=headers) as response:
            _check_status(response, url)
            is_rest = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if have and not is_rest:
                on_bytes(-have)
            with target.open("ab" if is_rest else "wb") as stream:
                for chunk in response.iter_bytes():  # as they come: a size would hold bytes back, lost where it is cut
                    stream.write(chunk)
                    on_bytes(len(chunk))
                    if stream.tell() > limit:
                        return  # more than was stated: no part of it is wanted

    def _insist(self, url: str, step: Callable[[], bool], *, size: Callable[[], int] = lambda: 0) -> None:
        """Repeat a step until it is done; give up after several in a row that brought nothing."""
        failures, reached, last = 0, size(), "an answer that ended too early"
        while failures < ATTEMPTS:
            try:
                if step():
                    return
            except httpx2.TransportError as error:
                last = f"{type(error).__name__}: {error}"
            except httpx2.InvalidURL as error:
                raise _not_brought(url, str(error)) from error
            failures = 0 if size() > reached else failures + 1
            reached = max(reached, size())
            if failures < ATTEMPTS:
                self._pause(min(2.0**failures, LONGEST_PAUSE_SECONDS))
        raise _not_brought(url, last)


def is_offline(environment: Mapping[str, str]) -> bool:
    """Tell whether ``HF_HUB_OFFLINE`` forbids asking the hub."""
    return environment.get("HF_HUB_OFFLINE", "").upper() in TRUE_WORDS


def open_hub(environment: Mapping[str, str]) -> Hub:
    """Open the hub that ``HF_ENDPOINT`` names, with the token of ``HF_TOKEN``.

    Raises:
        EnvironmentLacks: E-ENV-004 where ``HF_HUB_OFFLINE`` forbids it.
    """
    if is_offline(environment):
        raise EnvironmentLacks(
            "E-ENV-004",
            "HF_HUB_OFFLINE forbids asking the hub",
            got=f"HF_HUB_OFFLINE={environment['HF_HUB_OFFLINE']}",
            allowed="a model folder on this machine, or the network",
            fix="unset HF_HUB_OFFLINE",
        )
    return Hub(environment.get("HF_ENDPOINT") or DEFAULT_ENDPOINT, token=environment.get("HF_TOKEN", "").strip())


def _read_model(repository: str, answer: Mapping[str, Any]) -> HubModel:
    commit = str(answer["sha"])
    if COMMIT.fullmatch(commit) is None:
        raise ValueError(f"sha is {commit!r}")
    licence = (answer.get("cardData") or {}).get("license") or ""
    files = tuple(
        HubFile(str(item["rfilename"]), int(item["size"]), str((item.get("lfs") or {}).get("sha256") or item["blobId"]))
        for item in answer["siblings"]
    )
    return HubModel(repository, commit, str(licence), files)


def _check_status(response: httpx2.Response, url: str) -> None:
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    told = response.headers.get("X-Error-Message", "") or f"status {status}"
    if status in BUSY or status == httpx2.codes.RANGE_NOT_SATISFIABLE:
        raise httpx2.RemoteProtocolError(f"status {status}")
    if status == httpx2.codes.NOT_FOUND or code in {"RepoNotFound", "RevisionNotFound"}:
        raise ModelError(
            "E-MOD-004",
            "the hub has no such model, revision or file, or it is private",
            got=told,
            origin=url,
            allowed="ORGANISATION/NAME or ORGANISATION/NAME@REVISION",
            fix="luthier model list",
        )
    if status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
        raise EnvironmentLacks(
            "E-ENV-007",
            "the hub gives this model only to those who have accepted its terms, or who may see it",
            got=told,
            origin=url,
            needs="a token of an account that has access",
            allowed="HF_TOKEN in the environment; it is sent to the hub alone and never shown",
            fix='export HF_TOKEN="hf_..."',
        )
    if status not in {httpx2.codes.OK, httpx2.codes.PARTIAL_CONTENT}:
        raise _not_brought(url, told)


def _not_brought(url: str, got: str) -> LuthierError:
    return EnvironmentLacks(
        "E-ENV-004",
        "the hub does not answer as it should",
        got=got,
        origin=url,
        allowed="a hub that answers; what came so far is kept, and the same command goes on",
        fix="check the network and HF_ENDPOINT, then run the command again",
    )
