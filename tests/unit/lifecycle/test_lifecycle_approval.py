"""The door before deploy: what closes it, who may open it, and that a later word is enough to go on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from luthier.api.workspace import status
from luthier.foundation.core.errors import LuthierError, PolicyDenied, RecipeError, StageFailed
from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.report import GateVerdict, Report, Verdict
from luthier.lifecycle.approval import approve, check_door, find_author, find_authors, list_closed_doors
from tests.fixtures.example_records import make_examples
from tests.fixtures.fake_stages import Bench, FakeStage, make_release, make_report, open_quick_folder


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Six stages, the last behind the door."""
    with open_quick_folder() as folder:
        bench = Bench(folder)
        bench.modules["deploy"] = FakeStage(make_release)
        yield bench


def judge(bench: Bench, verdict: Verdict, *gates: GateVerdict) -> None:
    """Let evaluate come to a verdict."""

    def make(*arguments):
        report = make_report(*arguments)
        return report.model_copy(
            update={"identity": report.identity.model_copy(update={"verdict": verdict, "gates": gates})}
        )

    bench.modules["evaluate"].make = make


def make_gate(verdict: Verdict, *, needed: int | None = None, metric: str = "task.exact_match") -> GateVerdict:
    return GateVerdict(
        metric=metric,
        against="base",
        rule="above",
        verdict=verdict,
        value=0.25,
        bound=-0.05,
        p=0.0625,
        n=20,
        needed=needed,
        reason="gain +0.25, 95% bounds -0.05 and +0.5, required above +0",
    )


def say_yes(bench: Bench, digest: str, by: str, *, is_override: bool = False) -> Approval:
    return approve(bench.workspace, digest[:12], by=by, reason="seen and fit", is_override=is_override)


def actions(bench: Bench) -> list[str]:
    return [entry.action for entry in bench.workspace.audit.entries()]


def test_a_verdict_that_passed_opens_the_door_by_itself(bench: Bench):
    judge(bench, "PASS")
    result = bench.run()
    assert [stage.stage for stage in result.stages][-1] == "deploy"
    assert (result.denied, result.waiting, result.is_denied) == (None, None, False)
    assert [stage.reused for stage in bench.run().stages] == [True] * 6


@pytest.mark.parametrize(
    ("gate", "needs"),
    [
        (make_gate("FAIL"), "another model"),
        (make_gate("INCONCLUSIVE", needed=1234), "about 1,234 rows like these would settle it; there were 20"),
        (make_gate("INCONCLUSIVE"), "no number of rows"),
    ],
)
def test_a_gate_that_did_not_pass_closes_it_after_the_report_is_stored(bench: Bench, gate: GateVerdict, needs: str):
    judge(bench, gate.verdict, make_gate("PASS", metric="task.f1"), gate)
    result = bench.run()
    assert [stage.stage for stage in result.stages][-1] == "evaluate"
    assert bench.modules["deploy"].num_runs == 0
    assert bench.workspace.records.get(result.report.digest) == result.report
    (problem,) = result.denied.problems
    digest = result.report.digest[:12]
    assert (problem.code, result.denied.exit_code, result.is_denied) == ("E-GOV-001", 3, True)
    assert problem.field == "evaluate.gates.1"
    assert needs in problem.needs
    assert problem.got == gate.reason
    assert problem.origin == f"report {digest}, 20 rows"
    assert problem.fix == f"luthier govern approve {digest} --override --by NAME --reason TEXT"
    assert problem.allowed
    assert actions(bench)[-1] == "gate.denied"
    shown = json.loads(json.dumps(result.to_json()))
    assert shown["denied"]["problems"][0]["code"] == "E-GOV-001"
    assert (shown["verdict"], shown["report"]) == (gate.verdict, result.report.digest)


def test_every_gate_that_did_not_pass_is_named_and_a_verdict_without_gates_still_closes_the_door(bench: Bench):
    judge(bench, "FAIL", make_gate("FAIL"), make_gate("INCONCLUSIVE", needed=7))
    assert [problem.field for problem in bench.run().denied.problems] == ["evaluate.gates.0", "evaluate.gates.1"]
    judge(bench, "INCONCLUSIVE")
    bench.modules["evaluate"].VERSION = 2
    assert [problem.got for problem in bench.run().denied.problems] == ["INCONCLUSIVE"]


def test_until_evaluate_nothing_is_asked_of_the_door(bench: Bench):
    judge(bench, "FAIL", make_gate("FAIL"))
    result = bench.run("evaluate")
    assert (result.denied, result.is_denied) == (None, True)
    assert "gate.denied" not in actions(bench)


def test_an_override_recorded_later_lets_deploy_run_and_is_what_it_sees(bench: Bench):
    judge(bench, "INCONCLUSIVE", make_gate("INCONCLUSIVE", needed=40))
    report = bench.run().report.digest
    say_yes(bench, report, "Ada")
    assert bench.run().denied is not None, "an approval is no override"
    override = say_yes(bench, report, "Ada", is_override=True)
    result = bench.run()
    assert (result.denied, result.is_denied) == (None, False)
    assert result.find("deploy").record.identity.method == {"approvals": ["Ada", "Ada"]}
    assert bench.workspace.approvals.of(report)[-1] == override
    facts = bench.workspace.audit.entries(action="approval.recorded")[-1].facts
    assert facts == {"record": report, "by": "Ada", "reason": "seen and fit", "is_override": True}
    assert bench.workspace.audit.find_break() is None


def test_an_override_of_one_report_is_worth_nothing_for_another(bench: Bench):
    judge(bench, "FAIL", make_gate("FAIL"))
    say_yes(bench, bench.run().report.digest, "Ada", is_override=True)
    assert bench.run().denied is None
    bench.change("evaluate", systems=("base", "base_told", "tuned"))
    assert bench.run().denied is not None


def test_a_later_approval_makes_deploy_run_anew_and_leaves_all_before_it_reused(bench: Bench):
    judge(bench, "PASS")
    first = bench.run()
    say_yes(bench, first.report.digest, "Ada")
    second = bench.run()
    assert [stage.reused for stage in second.stages] == [True] * 5 + [False]
    assert second.find("deploy").digest != first.find("deploy").digest
    assert [stage.reused for stage in bench.run().stages] == [True] * 6


def test_deploy_waits_until_enough_distinct_people_approved(bench: Bench):
    judge(bench, "PASS")
    bench.change("govern", approvals=2)
    waiting = bench.run().waiting
    report = bench.run().report.digest
    assert (waiting.stage, waiting.reason) == ("deploy", "approval")
    assert f"luthier govern approve {report[:12]} --by NAME --reason TEXT" in waiting.detail
    assert "0 of 2" in waiting.detail
    for spelling in ("Ada Lovelace", " ada  LOVELACE", "\uff21da Lovelace"):
        say_yes(bench, report, spelling)
        assert "1 of 2 approvals so far (Ada Lovelace)" in bench.run().waiting.detail
    assert len(bench.workspace.approvals.of(report)) == 1
    say_yes(bench, report, "Grace Hopper")
    assert bench.run().waiting is None
    assert actions(bench).count("gate.waiting") == 5


def test_a_verdict_that_failed_asks_for_the_override_first_and_then_counts_it_as_one_approval(bench: Bench):
    judge(bench, "FAIL", make_gate("FAIL"))
    bench.change("govern", approvals=2)
    report = bench.run().report.digest
    say_yes(bench, report, "Grace Hopper")
    assert bench.run().denied is not None
    say_yes(bench, report, "Grace Hopper", is_override=True)
    assert "1 of 2" in bench.run().waiting.detail
    say_yes(bench, report, "Ada Lovelace")
    assert bench.run().find("deploy") is not None


def test_more_approvals_never_close_an_open_door():
    """Law: with N people needed the door opens at N and stays open, whatever comes after and in whatever order."""
    report = make_examples()["report"]
    assert isinstance(report, Report)
    passed = report.model_copy(update={"identity": report.identity.model_copy(update={"verdict": "PASS"})})
    people = [
        Approval(record=report.digest, by=f"person {number // 2}", reason="r", time="t", is_override=bool(number % 2))
        for number in range(10)
    ]
    for needed in range(6):
        opened = [
            check_door(passed, report.digest, people[:given], stage="deploy", needed=needed) is None
            for given in range(11)
        ]
        assert opened == [(given + 1) // 2 >= needed for given in range(11)]
        assert opened == sorted(opened)


@pytest.mark.parametrize("name", ["Root Admin", "root  ADMIN ", "\uff32oot admin"])
def test_the_author_approves_nothing_of_their_own(bench: Bench, name: str):
    judge(bench, "PASS")
    bench.change("govern", approvals=1)
    report = bench.run(author="Root Admin").report.digest
    for is_override in (False, True):
        with pytest.raises(PolicyDenied) as caught:
            say_yes(bench, report, name, is_override=is_override)
    problem = caught.value.problems[0]
    assert (problem.code, caught.value.exit_code, problem.field) == ("E-GOV-002", 3, "by")
    assert problem.allowed == "anyone but Root Admin"
    assert problem.fix
    assert problem.got
    assert bench.workspace.approvals.entries() == ()
    assert bench.run(author="Root Admin").waiting is not None


def test_whoever_started_any_stage_of_the_lineage_is_an_author_and_whoever_only_reused_it_is_none(bench: Bench):
    judge(bench, "PASS")
    bench.run("train", author="Ada")
    bench.run("evaluate", author="Grace")
    bench.run("evaluate", author="Barbara")
    report = bench.run("evaluate").report.digest
    assert find_authors(bench.workspace, report) == ("Ada", "Grace")
    for name in ("Ada", "Grace"):
        with pytest.raises(PolicyDenied, match="E-GOV-002"):
            say_yes(bench, report, name)
    say_yes(bench, report, "Barbara")


@pytest.mark.parametrize("text", ["", "  \n", "\x1b[2J", "x" * 3000])
@pytest.mark.parametrize("field", ["by", "reason"])
def test_an_approval_without_a_name_or_a_reason_that_can_be_read_is_refused(bench: Bench, field: str, text: str):
    judge(bench, "PASS")
    report = bench.run("evaluate").report.digest
    given = {"by": "Ada", "reason": "fit", field: text}
    with pytest.raises(RecipeError) as caught:
        approve(bench.workspace, report, **given, is_override=False)
    problem = caught.value.problems[0]
    assert (problem.code, problem.field, problem.origin, caught.value.exit_code) == (
        "E-GOV-003",
        field,
        f"--{field}",
        2,
    )
    assert problem.got
    assert problem.allowed
    assert problem.fix.startswith(f"--{field}")
    assert bench.workspace.approvals.entries() == ()


def test_only_a_report_is_approved_and_one_that_came_from_what_was_named_is_offered(bench: Bench):
    judge(bench, "PASS")
    result = bench.run("evaluate")
    with pytest.raises(RecipeError) as caught:
        say_yes(bench, result.find("train").digest, "Ada")
    problem = caught.value.problems[0]
    assert (problem.code, problem.got) == ("E-GOV-004", f"run {result.find('train').digest[:12]}")
    assert problem.allowed == result.report.digest[:12]
    assert problem.fix == f"luthier govern approve {result.report.digest[:12]} --by NAME --reason TEXT"


@pytest.mark.parametrize("text", ["0" * 12, "zz", "../x", ""])
def test_an_unknown_report_is_refused(bench: Bench, text: str):
    bench.run("evaluate")
    with pytest.raises(LuthierError, match="E-STO-004"):
        say_yes(bench, text, "Ada")


def test_a_stage_sees_the_approvals_of_what_its_door_looks_at_and_of_nothing_else(bench: Bench):
    judge(bench, "PASS")
    bench.modules["deploy"] = FakeStage(lambda _, inputs, ctx: ctx.approvals(inputs["train"].digest))
    with pytest.raises(StageFailed) as caught:
        bench.run()
    problem = caught.value.problems[0]
    assert problem.code == "E-LIF-004"
    assert problem.got == bench.run("train").find("train").digest
    assert problem.allowed
    assert "gated_by" in problem.fix


def test_the_author_is_who_the_environment_names_else_the_systems_user(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LUTHIER_AUTHOR", "  Ada   Lovelace ")
    assert find_author() == "Ada Lovelace"
    monkeypatch.setenv("LUTHIER_AUTHOR", "Ada \x1b[2J Lovelace")
    assert find_author() == "Ada Lovelace"
    monkeypatch.setenv("LUTHIER_AUTHOR", " ")
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    assert find_author() == "ada"

    def nameless():
        raise KeyError

    monkeypatch.setattr("getpass.getuser", nameless)
    assert find_author().startswith("uid ")


def test_a_closed_door_is_listed_with_the_command_that_opens_it_until_something_came_through(bench: Bench):
    judge(bench, "INCONCLUSIVE", make_gate("INCONCLUSIVE", needed=40))
    bench.change("govern", approvals=2)
    report = bench.run().report.digest
    (door,) = list_closed_doors(bench.workspace)
    assert (door["execution"], door["stage"], door["state"]) == (report[:12], "deploy", "denied")
    assert door["detail"] == f"luthier govern approve {report[:12]} --override --by NAME --reason TEXT"
    say_yes(bench, report, "Ada", is_override=True)
    bench.run()
    (door,) = status(bench.root)["unfinished"]
    assert (door["state"], door["detail"]) == (
        "waiting",
        f"luthier govern approve {report[:12]} --by NAME --reason TEXT",
    )
    say_yes(bench, report, "Grace")
    bench.run()
    assert status(bench.root)["unfinished"] == []
