"""Selection: the laws of a ranking, the paper's algorithm by hand, and what stage 1 stores of it."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.foundation.core.errors import DataError, RecipeError
from luthier.foundation.registry import load_runtime
from luthier.foundation.schema.plugins import SelectorConfig
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import DataSection, PluginChoice, Source
from luthier.stages.data import selection as selection_module
from luthier.stages.data import stage
from luthier.stages.data.ranking import Pick, Ranking, draw_order
from luthier.stages.data.selection import Selection, count_allowed, rank_rows, resolve_selection
from luthier.stages.data.selectors.deft_ucs.config import Config
from luthier.stages.data.selectors.deft_ucs.selector import interleave_ends, mix, sort_members, take_turns
from luthier.stages.data.why import why
from luthier.testing.conformance import check_plugin
from tests.fixtures.data_rows import DataContext, make_record, make_row, write_jsonl

TOPICS = ("parcel courier door depot", "invoice tax amount payment", "password login account mail")


def make_pool(num_rows: int = 60) -> list[Row]:
    """Make rows on three topics: number 0, 1, 2, 0, 1, 2 and so on."""
    draw = random.Random(7)  # noqa: S311  a test's rows
    return [
        make_row(
            " ".join(draw.choices(TOPICS[number % 3].split(), k=5)),
            f"answer {number}",
            name=f"r{number}",
            system="Policy.",
        )
        for number in range(num_rows)
    ]


def rank(rows: Sequence[Row], name: str = "deft_ucs", seed: int = 0, **options: object) -> Ranking:
    return rank_rows(rows, resolve_selection(PluginChoice(type=name, options=options), seed))


@pytest.mark.parametrize("name", ["random", "deft_ucs"])
def test_the_built_in_selectors_conform(name: str) -> None:
    check_plugin("selectors", name)


@pytest.mark.parametrize("name", ["random", "deft_ucs"])
def test_a_ranking_does_not_depend_on_the_order_of_rows_and_does_on_the_seed(name: str) -> None:
    rows = make_pool()
    ids = [rows[pick.index].id for pick in rank(rows, name).picks]
    backwards = rows[::-1]

    assert [backwards[pick.index].id for pick in rank(backwards, name).picks] == ids
    assert [rows[pick.index].id for pick in rank(rows, name, seed=1).picks] != ids
    assert sorted(ids) == sorted(row.id for row in rows)


def test_a_smaller_fraction_of_a_random_ranking_is_its_prefix() -> None:
    rows = make_pool()
    whole = rank(rows, "random").picks

    assert rank(rows, "random", fraction=0.25).picks == whole[:15]


def test_random_ranks_every_row_first_equally_often() -> None:
    """Over 600 seeds each of 6 rows is first about 100 times; the bound is five standard deviations (9.1)."""
    rows = make_pool(6)
    firsts = Counter(rank(rows, "random", seed=seed).picks[0].index for seed in range(600))

    assert len(firsts) == 6
    assert all(abs(times - 100) < 46 for times in firsts.values())


@given(num_rows=st.integers(1, 500), fraction=st.floats(0.001, 1))
def test_a_fraction_is_never_passed_but_for_the_first_row(num_rows: int, fraction: float) -> None:
    number = count_allowed(num_rows, fraction)

    assert 1 <= number <= num_rows
    assert number == 1 or number <= num_rows * fraction + 1e-6
    assert number == num_rows or number + 1 > num_rows * fraction - 1e-6


def test_every_prefix_covers_every_topic_and_mixes_chance_easy_and_hard() -> None:
    """Three clusters: six of the clusters' own picks hold each topic twice."""
    rows = make_pool(300)
    picks = rank(rows, clusters=3, fraction=0.5, random_fraction=0.5).picks

    for size in (12, 50, 150):
        reasons = Counter(pick.reason for pick in picks[:size])
        assert reasons["random"] == size // 2
        assert abs(reasons["easy"] - reasons["hard"]) <= 3
        chosen = Counter(pick.index % 3 for pick in picks[:size] if pick.reason != "random")
        assert max(chosen.values()) - min(chosen.values()) <= 1


def test_the_selection_is_the_papers_at_every_full_turn() -> None:
    """Algorithm 1 written out: base apart, k-means on the rest, A a cluster, alpha * A nearest, beta * A farthest."""
    rows = make_pool(90)
    ranking = rank(rows, clusters=3, fraction=0.5, random_fraction=0.2, easy_fraction=0.5)
    num_random, a_cluster = 9, 12  # of 45 rows 9 by chance, of each of 3 clusters 12
    rest = draw_order(rows, 0)[num_random:]
    embedded = selection_vectors(rows, rest)
    topics = [[place for place, index in enumerate(rest) if index % 3 == topic] for topic in range(3)]
    expected: set[int] = set()
    for members in topics:
        centre = embedded[members].mean(axis=0)
        cosines = embedded[members] @ (centre / np.linalg.norm(centre))
        nearest_first = [members[at] for at in np.argsort(-cosines, kind="stable")]
        expected |= {rest[place] for place in nearest_first[: a_cluster // 2] + nearest_first[-a_cluster // 2 :]}

    assert {pick.index for pick in ranking.picks if pick.reason == "random"} == set(draw_order(rows, 0)[:num_random])
    assert {pick.index for pick in ranking.picks if pick.reason != "random"} == expected


def selection_vectors(rows: Sequence[Row], places: Sequence[int]) -> np.ndarray:
    from luthier.foundation.core.seeds import derive_seed
    from luthier.stages.data.lexical import embed_rows

    return embed_rows((rows[index] for index in places), seed=derive_seed(0, "select", "embed")).vectors_NE


def test_ends_are_taken_in_turn_the_typical_first() -> None:
    assert interleave_ends([1, 2, 3, 4], 0.5) == [(1, "easy"), (4, "hard"), (2, "easy"), (3, "hard")]
    assert interleave_ends([1, 2, 3], 1.0) == [(1, "easy"), (2, "easy"), (3, "easy")]
    assert interleave_ends([1, 2, 3], 0.0) == [(3, "hard"), (2, "hard"), (1, "hard")]


def test_clusters_take_turns_until_they_are_empty() -> None:
    assert [place for place, _ in take_turns([[(1, ""), (2, ""), (3, "")], [(4, "")]])] == [1, 4, 2, 3]


def test_members_are_sorted_by_angle_and_large_clusters_come_first() -> None:
    """Angles to the second cluster's centroid (1, 0): 60, 0 and 30 degrees."""
    vectors = np.array([[0, 1], [0.5, 3**0.5 / 2], [1, 0], [3**0.5 / 2, 0.5]])

    assert sort_members(vectors, np.array([0, 1, 1, 1]), np.array([[0, 2.0], [3.0, 0]])) == [[2, 3, 1], [0]]


@given(first=st.integers(0, 40), second=st.integers(0, 40))
def test_every_prefix_of_a_mixture_is_in_proportion(first: int, second: int) -> None:
    merged = mix([Pick(n, "a") for n in range(first)], [Pick(n, "b") for n in range(second)])

    assert sorted(merged, key=lambda pick: (pick.reason, pick.index)) == [
        *(Pick(n, "a") for n in range(first)),
        *(Pick(n, "b") for n in range(second)),
    ]
    for size in range(1, len(merged) + 1):
        share = size * first / (first + second)
        assert share - 1 < sum(pick.reason == "a" for pick in merged[:size]) <= share + 1e-9


@pytest.mark.parametrize("rows", [[make_row("same", name=f"r{n}") for n in range(9)], [make_row("", "", name="r0")]])
def test_rows_that_say_the_same_or_nothing_can_be_ranked(rows: list[Row]) -> None:
    assert len(rank(rows, clusters=4).picks) == len(rows)


def test_a_planted_useful_minority_is_covered_before_chance_would() -> None:
    """Ten of 1,010 rows are on a topic of their own; 202 by chance hold 2 of them on average."""
    common = [make_row(f"{TOPICS[n % 2]} {n % 17}", f"a {n % 5}", name=f"c{n}") for n in range(1000)]
    rare = [make_row(f"warranty of a broken kettle lid {n}", "send it in", name=f"k{n}") for n in range(10)]
    found = [
        sum(pick.index >= 1000 for pick in rank([*common, *rare], fraction=0.2, seed=seed).picks) for seed in range(5)
    ]

    assert sum(found) / 5 >= 4, found


# What cannot be.


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("random", {"fraction": 0}, "fraction = 0"),
        ("random", {"fraction": 1.5}, "fraction = 1.5"),
        ("deft_ucs", {"clusters": 0}, "clusters"),
        ("deft_ucs", {"easy_fraction": -1}, "easy_fraction = -1"),
        ("deft_ucs", {"budget": 5}, "budget = 5"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(name: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(DataError) as caught:
        resolve_selection(PluginChoice(type=name, options=options), 0)

    problem = caught.value.problems[0]
    assert (problem.code, problem.field) == ("E-DAT-017", f"data.select.{name}")
    assert told in problem.got
    assert problem.fix == f"select: {{type: {name}}}"


def test_a_selector_that_does_not_exist_is_told_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="nearest is 'random'"):
        resolve_selection(PluginChoice(type="randon"), 0)


@pytest.mark.parametrize("indices", [(0, 0), (0,), (0, 9), (0, 1, 2)])
def test_a_selector_that_loses_or_repeats_rows_is_caught(
    monkeypatch: pytest.MonkeyPatch, indices: tuple[int, ...]
) -> None:
    class Broken:
        def rank(self, rows: Sequence[Row], config: object, *, number: int, seed: int) -> Ranking:
            return Ranking(tuple(Pick(index, "broken") for index in indices))

    monkeypatch.setattr(selection_module, "load_runtime", lambda *_: Broken())
    with pytest.raises(DataError) as caught:
        rank_rows(make_pool(4), Selection("broken", SelectorConfig(fraction=0.5), 0))

    problem = caught.value.problems[0]
    assert (problem.code, problem.needs, problem.fix) == ("E-DAT-030", "2 of 4 rows, each once", "select: random")


# Stage 1.


def run(folder: Path, select: PluginChoice | None, seed: int = 0) -> tuple[DataContext, stage.DatasetVersion]:
    write_jsonl(folder / "rows.jsonl", [make_record(f"{TOPICS[n % 3]} {n}", f"a {n}", id=f"r{n}") for n in range(50)])
    context = DataContext(folder, seed=seed)
    return context, stage.run(DataSection(sources=(Source(path="rows.jsonl"),), select=select), {}, context)


def test_the_stage_ranks_training_rows_alone_and_no_more_than_the_fraction(tmp_path: Path) -> None:
    context, record = run(tmp_path, PluginChoice(type="deft_ucs", options={"fraction": 0.5}))
    train = {row.id for row in context.blobs.get_rows(record.identity.splits["train"].blob)}
    lines = list(context.blobs.get_lines(record.identity.ranking or ""))
    ranked = [line["id"] for line in lines]

    assert len(train) == 40
    assert (len(ranked), len(set(ranked)), set(ranked) <= train) == (20, 20, True)
    step = record.identity.waterfall[-1]
    assert (step.operator, step.rows_in, step.rows_out, step.dropped) == ("select deft_ucs", 40, 20, 0)
    assert step.reasons == dict(Counter(line["reason"] for line in lines))


def test_selection_leaves_the_splits_as_they_are_and_says_by_what_it_was_made(tmp_path: Path) -> None:
    _, plain = run(tmp_path, None)
    _, selected = run(tmp_path, PluginChoice(type="random", options={"fraction": 0.5}))

    assert plain.identity.ranking is None
    assert selected.identity.splits == plain.identity.splits
    assert selected.identity.operators[-1] == {
        "selector": "random", "version": 1, "options": {"fraction": 0.5}, "seed": 0,
    }  # fmt: skip
    assert json.loads(selected.model_dump_json()) != json.loads(plain.model_dump_json())


def test_a_rows_story_tells_its_place_in_the_ranking(tmp_path: Path) -> None:
    context, record = run(tmp_path, PluginChoice(type="deft_ucs", options={"fraction": 0.5}))
    lines = list(context.blobs.get_lines(record.identity.ranking or ""))
    ranked = {line["id"] for line in lines}
    train = [row.id for row in context.blobs.get_rows(record.identity.splits["train"].blob)]
    rank = why(record, context.blobs, lines[6]["id"]).rank

    assert rank is not None
    assert (rank.place, rank.num_ranked, rank.reason) == (7, 20, lines[6]["reason"])
    assert why(record, context.blobs, next(name for name in train if name not in ranked)).rank is None


def test_the_same_stage_twice_is_the_same_record(tmp_path: Path) -> None:
    choice = PluginChoice(type="deft_ucs")
    (tmp_path / "again").mkdir()

    assert run(tmp_path, choice)[1].digest == run(tmp_path / "again", choice)[1].digest
    assert run(tmp_path, choice, seed=1)[1].digest != run(tmp_path, choice)[1].digest


def test_default_options_are_a_choice_of_all_rows() -> None:
    config = Config()

    assert (config.fraction, config.random_fraction, config.easy_fraction, config.clusters) == (1.0, 0.3, 0.5, "auto")
    assert load_runtime("selectors", "deft_ucs").rank(make_pool(9), config, number=9, seed=0).flops > 0
