"""The report's page from made-up answers: nothing of a row can act, nothing comes from elsewhere, pictures are true."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from luthier.foundation.schema.dataset import DatasetIdentity
from luthier.foundation.schema.report import GateVerdict, ReportIdentity
from luthier.foundation.schema.rows import FunctionCall, Message, ToolCall
from luthier.foundation.schema.sections import PluginChoice
from luthier.stages.evaluate.compare import list_differences, list_values, score_suite
from luthier.stages.evaluate.page import MAX_CHARACTERS, MAX_LISTED, PageInputs, render_page
from luthier.stages.evaluate.page_charts import (
    LABEL_WIDTH,
    VALUE_WIDTH,
    WIDTH,
    draw_curves,
    draw_intervals,
    format_number,
)
from luthier.stages.evaluate.suite import PlannedSuite, Prompt
from tests.fixtures.evaluate_runs import SYSTEMS, make_answers, make_suite
from tests.fixtures.example_records import make_dataset_example, name_blob

NASTY = "</dd><script src='https://evil.example/x.js'>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"
VOID = {"meta", "line", "circle", "polyline"}


class Reader(HTMLParser):
    """Reads a page as a browser does: which elements there are, what they refer to, what a person sees."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def read_page(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == [], "every element is closed"
    return reader


def make_gate(**changes: object) -> GateVerdict:
    values: dict[str, object] = {
        "metric": "task.exact_match",
        "against": "base",
        "rule": "not_worse_than",
        "verdict": "PASS",
        "value": 0.5,
        "bound": 0.1,
        "n": 1234,
        "reason": "gain +0.5",
    }
    return GateVerdict.model_validate(values | changes)


def render(
    suite: PlannedSuite,
    texts: dict[str, list[str]],
    *,
    data: DatasetIdentity | None = None,
    base: str = "tiny",
    **report: object,
) -> str:
    answers = make_answers(suite, texts)
    scored = score_suite(suite, answers, call_style="none", seed=0)
    identity = ReportIdentity.model_validate(
        {
            "systems": SYSTEMS,
            "suites": (),
            "metrics": list_values(scored),
            "differences": list_differences(scored, [SYSTEMS]),
            "gates": (),
            "verdict": "PASS",
            "questions": name_blob("questions"),
            "answers": name_blob("answers"),
            **report,
        }
    )
    inputs = PageInputs(
        report=identity,
        data=data or make_dataset_example().identity,
        base=base,
        curve=[{"step": step, "loss": 2.0 / step} for step in range(1, 30)],
    )
    return render_page(inputs, [suite], answers, scored)


def make_task(references: list[str], **options: object) -> PlannedSuite:
    return make_suite(references, metrics=(PluginChoice(type="exact_match"),), **options)


def test_no_text_from_outside_becomes_an_element_of_the_page() -> None:
    """Question, reference, answers, names of metrics, gates, reasons and sets, all hostile; only our own tags stay."""
    suite = make_task([NASTY, "yes"])
    hostile = Prompt(
        id=NASTY,
        row_id=NASTY,
        cluster=NASTY,
        messages=(Message(role="user", content=NASTY),),
        reference=Message(role="assistant", content=NASTY),
        token_ids=suite.prompts[0].token_ids,
    )
    suite = PlannedSuite(suite.name, suite.suite, suite.config, (hostile, suite.prompts[1]), suite.systems)
    example = make_dataset_example().identity
    step = example.waterfall[1].model_copy(update={"operator": NASTY, "reasons": {NASTY: 1}})
    data = example.model_copy(update={"waterfall": (step,), "splits": {NASTY: example.splits["train"]}})

    page = render(
        suite,
        {"base": [NASTY, "no"], "tuned": ["no", NASTY]},
        data=data,
        base=NASTY,
        gates=(make_gate(metric=NASTY, against=NASTY, reason=NASTY),),
    )
    reader = read_page(page)

    assert {"script", "img", "iframe", "link", "object", "a"} & set(reader.tags) == set()
    assert {name for name, _ in reader.attributes if name.startswith("on") or name in {"src", "href"}} == set()
    assert reader.text.count(NASTY) >= 10, "a person reads it as it was written"


def test_the_page_asks_for_nothing_from_anywhere() -> None:
    page = render(make_task(["yes"]), {"base": ["no"], "tuned": ["yes"]})

    assert re.findall(r"https?:|//|url\(|@import|<script|<link|srcset|xlink", page) == []


def test_the_verdict_and_the_counts_stand_at_the_top() -> None:
    page = read_page(render(make_task(["yes"] * 3), {"base": ["no"] * 3, "tuned": ["yes"] * 3}, verdict="INCONCLUSIVE"))

    assert "Evaluation: INCONCLUSIVE" in page.text
    assert "tiny as base, tuned; 3 questions in 1 suites" in page.text
    assert "No gate was asked for." in page.text


def test_a_gate_is_a_line_with_its_rule_in_words_its_rows_and_its_reason() -> None:
    page = read_page(render(make_task(["yes"]), {"base": ["no"], "tuned": ["yes"]}, gates=(make_gate(),)))

    assert "not worse than base" in page.text
    assert "1,234" in page.text
    assert "gain +0.5" in page.text


def test_the_waterfall_shows_rows_in_and_out_and_why_rows_went() -> None:
    page = read_page(render(make_task(["yes"]), {"base": ["no"], "tuned": ["yes"]}))

    assert "dedupe10119same as row 3: 1" in page.text, "rows in 10, dropped 1, changed 1, rows out 9"
    assert "Sets: train 7, validation 1, test 1" in page.text


def test_answers_that_changed_are_listed_by_their_direction() -> None:
    """Base right on the first, tuned on the other two."""
    suite = make_task(["yes"] * 3)
    page = read_page(render(suite, {"base": ["yes", "no", "no"], "tuned": ["no", "yes", "yes"]}))

    assert "2 questions that tuned does better than base" in page.text
    assert "1 questions that tuned does worse than base" in page.text
    assert "Worst of tuned by task.exact_match" in page.text


def test_only_the_first_twenty_changed_answers_are_shown_and_the_page_says_so() -> None:
    suite = make_task(["yes"] * 50)
    page = render(suite, {"base": ["no"] * 50, "tuned": ["yes"] * 50})
    better = page.partition("50 questions that tuned does better")[2].partition("</details>")[0]

    assert better.count("class='answers'") == MAX_LISTED == 20
    assert "The first 20 are shown." in better


def test_a_long_answer_is_cut_and_marked() -> None:
    text = "a" * (MAX_CHARACTERS + 1)
    page = render(make_task(["yes"]), {"base": [text], "tuned": ["a" * MAX_CHARACTERS]})

    assert f"{'a' * MAX_CHARACTERS} …" in page
    assert text not in page


def test_tool_calls_of_a_reference_are_shown_with_their_arguments() -> None:
    suite = make_task(["yes"])
    call = ToolCall(function=FunctionCall(name="find", arguments='{"city": "Bern"}'))
    reference = Message(role="assistant", content="Looking.", tool_calls=(call,))
    one = suite.prompts[0]
    prompt = Prompt(one.id, one.row_id, one.cluster, (), reference, one.token_ids)
    suite = PlannedSuite(suite.name, suite.suite, suite.config, (prompt,), suite.systems)

    page = read_page(render(suite, {"base": ["no"], "tuned": ["Looking."]}))

    assert 'Looking.\nfind({"city": "Bern"})' in page.text


@pytest.mark.parametrize(
    ("p", "shown"), [(0.00009, "< 0.0001"), (0.0001, "0.0001"), (0.04567, "0.0457"), (1.0, "1.0000")]
)
def test_a_small_p_is_never_shown_as_zero(p: float, shown: str) -> None:
    suite = make_task(["yes"])
    scored = score_suite(suite, make_answers(suite, {"base": ["no"], "tuned": ["yes"]}), call_style="none", seed=0)
    (difference,) = list_differences(scored, [SYSTEMS])
    changed = difference.model_copy(update={"p": p, "p_holm": None})
    page = read_page(render(suite, {"base": ["no"], "tuned": ["yes"]}, differences=(changed,)))

    assert page.text.count(shown) >= 2, "p, and the same where Holm has nothing to correct"


# Pictures.


def read_numbers(picture: str, element: str, name: str) -> list[float]:
    return [float(found) for found in re.findall(rf'<{element} [^>]*\b{name}="([-0-9.]+)"', picture)]


def test_a_dot_lies_in_its_bar_and_places_are_proportional() -> None:
    """Values -1, 0, 3 of one scale: the distances of the dots are as 1 to 3."""
    rows = [("a", -1.0, (-1.5, -0.5)), ("b", 0.0, (-0.25, 0.25)), ("c", 3.0, (2.0, 4.0))]
    picture = draw_intervals(rows)
    dots = read_numbers(picture, "circle", "cx")
    lefts, rights = read_numbers(picture, "line", "x1"), read_numbers(picture, "line", "x2")

    assert (dots[2] - dots[1]) / (dots[1] - dots[0]) == pytest.approx(3.0, rel=0.01)
    for left, dot, right in zip(lefts, dots, rights, strict=True):
        assert LABEL_WIDTH <= left < dot < right <= WIDTH - VALUE_WIDTH
    assert min(lefts) == lefts[0]
    assert max(rights) == rights[2]


def test_the_line_of_no_difference_is_where_a_zero_would_be() -> None:
    picture = draw_intervals([("gain", 0.0, (-0.2, 0.3)), ("loss", -0.5, (-0.9, -0.1))], zero=True)
    axis = re.search(r'class="axis" x1="([0-9.]+)"', picture)
    assert axis

    assert float(axis[1]) == read_numbers(picture, "circle", "cx")[0]


def test_zero_is_in_the_picture_even_where_all_intervals_are_above_it() -> None:
    picture = draw_intervals([("gain", 0.5, (0.4, 0.6))], zero=True)
    axis = re.search(r'class="axis" x1="([0-9.]+)"', picture)
    assert axis

    assert LABEL_WIDTH < float(axis[1]) < read_numbers(picture, "line", "x1")[1]


def test_an_interval_of_one_point_is_drawn_in_the_middle_without_dividing_by_zero() -> None:
    picture = draw_intervals([("all right", 1.0, (1.0, 1.0))])

    assert read_numbers(picture, "circle", "cx") == [LABEL_WIDTH + (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / 2]


def test_rows_lie_apart_and_inside_the_picture() -> None:
    picture = draw_intervals([(str(i), float(i), (i - 0.5, i + 0.5)) for i in range(7)])
    height = float(picture.partition(f'viewBox="0 0 {WIDTH} ')[2].partition('"')[0])
    places = read_numbers(picture, "circle", "cy")

    assert all(later - earlier >= 20 for earlier, later in pairwise(places))
    assert 0 < places[0] < places[-1] < height


def test_a_curve_falls_from_left_to_right_when_the_loss_does() -> None:
    """In pictures y grows downwards."""
    picture = draw_curves([{"step": s, "loss": 10.0 - s} for s in (1, 2, 5)], ("loss",))
    points = [tuple(map(float, p.split(","))) for p in re.search(r'points="([^"]+)"', picture)[1].split()]

    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted(y for _, y in points)
    assert (points[1][0] - points[0][0]) * 3 == pytest.approx(points[2][0] - points[1][0], abs=0.5)
    assert "steps 1 to 5" in picture
    assert ">9.000<" in picture
    assert ">5.000<" in picture


def test_figures_that_are_missing_or_no_numbers_are_left_out_of_a_curve() -> None:
    lines = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": float("nan")},
        {"step": 3, "loss": None, "validation_loss": 1.5},
        {"loss": 1.0},
        {"step": 4, "loss": 1.0, "validation_loss": float("inf")},
    ]
    picture = draw_curves(lines, ("loss", "validation_loss"))
    drawn = re.findall(r'points="([^"]+)"', picture)

    assert [len(points.split()) for points in drawn] == [2, 1]
    assert "nan" not in picture
    assert draw_curves(lines, ("rate",)) == draw_curves([], ("loss",)) == draw_curves(lines[:1], ("loss",)) == ""


def test_few_points_get_marks_and_many_do_not() -> None:
    few = draw_curves([{"step": s, "loss": 1.0} for s in range(20)], ("loss",))
    many = draw_curves([{"step": s, "loss": 1.0} for s in range(21)], ("loss",))

    assert (few.count("<circle"), many.count("<circle")) == (20, 0)


@pytest.mark.parametrize(
    ("value", "is_signed", "shown"),
    [
        (0.12345, False, "0.123"),
        (0.12345, True, "+0.123"),
        (-0.5, True, "-0.500"),
        (999.9994, False, "999.999"),
        (12345.6, False, "12,346"),
        (12345.6, True, "+12,346"),
        (-12345.6, True, "-12,346"),
    ],
)
def test_numbers_are_short_and_keep_their_sign(value: float, is_signed: bool, shown: str) -> None:
    assert format_number(value, is_signed=is_signed) == shown
