"""How fast are near duplicates found, and how surely? Made-up rows with edited copies, against brute force.

Run by ``make bench AREA=data``; needs nothing. Rows are conversations of 130 words in the mean, a fifth of them copies
with words replaced, dropped and added. Speed is taken twice: of the operator on rows in memory, and of the stage, which
reads rows from its file, judges them, and writes the ledger; both by one core's processor time, so that a busy machine
says the same. Recall and precision are counted on part of the rows
against every pair compared in plain Python. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import REPOSITORY, write_results  # found by the line above

from luthier.foundation.schema.rows import Message, Origin, Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.stages.data.operators.near_dedupe.config import Config
from luthier.stages.data.operators.near_dedupe.operator import MIN_ANSWER, find_matches
from luthier.stages.data.pipeline import apply_operators, resolve_operators
from luthier.stages.data.spool import Rows

NUM_ROWS = 20_000
NUM_COMPARED = 2_000
THRESHOLD = 0.8
COPIED = 0.2
MEAN_WORDS = 110


def make_rows(num: int, seed: int) -> list[Row]:
    """Draw rows; words by Zipf's law from 20,000 made-up ones."""
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwygpbvk"))
    lengths = random.integers(2, 10, 20_000)
    words = np.array(["".join(random.choice(letters, length)) for length in lengths])
    texts: list[list[str]] = []
    for _ in range(num):
        if texts and random.random() < COPIED:
            said = list(texts[random.integers(len(texts))])
            for _ in range(random.integers(0, 1 + len(said) // 8)):
                at = int(random.integers(len(said)))
                said[at : at + int(random.integers(0, 2))] = [str(words[random.integers(20_000)])]
        else:
            length = 1 + int(random.poisson(MEAN_WORDS))
            said = [str(word) for word in words[np.minimum(random.zipf(1.3, length), 20_000) - 1]]
        texts.append(said)
    return [make_row(number, said) for number, said in enumerate(texts)]


def make_row(number: int, said: list[str]) -> Row:
    """Make a conversation; its last twenty words are the answer."""
    question, answer = " ".join(said[:-20] or said), " ".join(said[-20:])
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Row(id=f"row-{number}", messages=messages, origin=Origin(file="made-up", line=number + 1))


def take_runs(row: Row, words: int) -> list[set[tuple[str, ...]]]:
    """Return the runs of words of a row's question and of its answer, in plain Python."""
    texts = [message.text.split() for message in row.messages]
    return [{tuple(said[at : at + words]) for at in range(max(1, len(said) - words + 1))} for said in texts]


def count_pairs(rows: list[Row], gone: dict[int, int], words: int) -> tuple[float, float]:
    """Return recall of rows that have a near duplicate, and precision of those that went.

    A row counts as found if it or the only rows that it is near to went; one that went is right if it is near the row
    that was kept in its stead.
    """
    runs = [take_runs(row, words) for row in rows]

    def is_near(one: int, other: int) -> bool:
        shared = [len(left & right) for left, right in zip(runs[one], runs[other], strict=True)]
        together = [len(left) + len(right) for left, right in zip(runs[one], runs[other], strict=True)]
        is_answer_near = shared[1] >= MIN_ANSWER * (together[1] - shared[1])
        return is_answer_near and sum(shared) >= THRESHOLD * (sum(together) - sum(shared))

    stays = [number for number in range(len(rows)) if number not in gone]
    missed = sum(is_near(one, other) for place, one in enumerate(stays) for other in stays[:place])
    right = sum(is_near(one, other) for one, other in gone.items())
    return len(gone) / (len(gone) + missed), right / len(gone)


def main() -> None:
    """Measure speed, then recall and precision."""
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=NUM_ROWS)
    options.add_argument("--compared", type=int, default=NUM_COMPARED)
    options.add_argument("--only", choices=("near_dedupe",), default="near_dedupe")
    chosen = options.parse_args()
    rows = make_rows(chosen.rows, seed=0)
    config = Config(threshold=THRESHOLD)

    began = time.process_time()
    found = find_matches(rows, config)
    speed = len(rows) / (time.process_time() - began)
    spooled = Rows(rows)
    steps = resolve_operators([PluginChoice(type="near_dedupe", options={"threshold": THRESHOLD})])
    began = time.process_time()
    apply_operators(spooled, steps, {})
    stage_speed = len(rows) / (time.process_time() - began)

    part = rows[: chosen.compared]
    gone = {row: match.kept for row, match in find_matches(part, config).items()}
    recall, precision = count_pairs(part, gone, config.words)
    result = {
        "near_dedupe_rows_per_s": round(speed),
        "near_dedupe_stage_rows_per_s": round(stage_speed),
        "near_dedupe_recall": round(recall, 4),
        "near_dedupe_precision": round(precision, 4),
    }
    cases = {"rows": len(rows), "dropped": len(found), "compared": len(part), "dropped_of_compared": len(gone)}
    path = write_results("data", ratios=result, cases=cases)
    print(f"results: {path.relative_to(REPOSITORY)}", file=sys.stderr, flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
