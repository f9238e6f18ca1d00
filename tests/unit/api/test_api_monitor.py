"""``api.monitor.drift`` on files: verdicts on planted changes, what is absent, what is refused, and the command."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from luthier.api import monitor
from luthier.api.monitor import Watching
from luthier.cli.main import luthier
from luthier.foundation.core.errors import DataError, EnvironmentLacks, RecipeError
from luthier.foundation.core.hashing import sha256_bytes
from luthier.foundation.core.model_files import compute_weights_digest
from luthier.foundation.schema.release import Certificate, Release, ReleaseIdentity, ReleaseWitness
from luthier.foundation.store.workspace import Workspace
from luthier.instruments.text.static_embeddings import open_embeddings
from luthier.stages.monitor.reference import build_reference, to_bytes
from luthier.stages.monitor.signals import observe
from luthier.stages.monitor.traffic import read_traffic
from tests.fixtures.drift_traffic import PARCELS, START, write_base, write_traffic

CHANGE = 35


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_traffic(tmp_path_factory.mktemp("before") / "before.jsonl", first_day=0, num_days=20)


def look(
    before: Path, after: Path, base: Path | str, **settings: Any
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    watching = Watching(reference=before, base=str(base), **settings)
    found = monitor.drift(after, workspace=after.parent, watching=watching)
    json.dumps(found, allow_nan=False)
    return found, {signal["signal"]: signal for signal in found["signals"]}


def test_the_same_kind_of_traffic_is_no_drift(base: Path, before: Path, tmp_path: Path) -> None:
    after = write_traffic(tmp_path / "after.jsonl", first_day=20, num_days=30)
    found, signals = look(before, after, base)

    assert (found["verdict"], found["since"]) == ("none", None)
    assert {name for name, one in signals.items() if one["state"] == "none"} == {
        *("topics", "text_length", "tokens_per_character", "confidence")
    }
    assert {name for name, one in signals.items() if one["state"] == "absent"} == {
        *("length", "logprob", "prompt_tokens", "completion_tokens")
    }
    assert signals["logprob"]["reason"] == "no row has the column logprob"
    assert found["reference"]["by_weekday"]


def test_a_change_of_topics_is_found_dated_and_shown(base: Path, before: Path, tmp_path: Path) -> None:
    after = write_traffic(
        tmp_path / "after.jsonl", first_day=20, num_days=40, parcels=lambda day: 0.6 if day >= CHANGE else 0.2
    )
    found, signals = look(before, after, base)
    topics = signals["topics"]
    since = date.fromisoformat(topics["since"]) - START.date()

    assert (found["verdict"], topics["state"], topics["is_ongoing"]) == ("drift", "drift", True)
    assert abs(since.days - CHANGE) <= 2
    assert date.fromisoformat(topics["found_on"]) - START.date() <= timedelta(days=CHANGE + 7)
    assert topics["size"]["interval"][0] < topics["size"]["value"] < topics["size"]["interval"][1]
    assert topics["size"]["interval"][0] > 0
    assert len(topics["examples"]) == 5
    words = " ".join(example["text"] for example in topics["examples"]).split()
    assert len([word for word in words if word in PARCELS]) > 0.8 * len(words)
    assert signals["confidence"]["state"] == "none"


def test_a_drop_of_confidence_is_found_without_any_text(before: Path, tmp_path: Path) -> None:
    """A beta(5, 2) less 0.1; a row of the traffic has the greater value in about 34 of 100 pairs."""
    after = write_traffic(tmp_path / "after.jsonl", first_day=20, num_days=20, confidence=lambda _: -0.1)
    bare = tmp_path / "bare.jsonl"
    lines = [json.loads(line) for line in after.read_text().splitlines()]
    bare.write_text("".join(json.dumps({**line, "text": None}) + "\n" for line in lines))
    found, signals = look(before, bare, write_base(tmp_path / "base"))

    assert found["verdict"] == signals["confidence"]["state"] == "drift"
    assert signals["confidence"]["size"]["value"] == pytest.approx(0.34, abs=0.05)
    assert signals["confidence"]["since"] == "2026-03-22"
    assert (signals["topics"]["state"], signals["topics"]["reason"]) == ("absent", "no row has a text")


def test_weekends_that_differ_in_both_are_no_drift(base: Path, tmp_path: Path) -> None:
    def mix(day: int) -> float:
        return 0.8 if day % 7 > 4 else 0.2

    before = write_traffic(tmp_path / "before.jsonl", first_day=0, num_days=20, parcels=mix)
    for num_days in (40, 2):  # whole weeks, and the two days that follow the reference, a weekend's Sunday among them
        after = write_traffic(tmp_path / "after.jsonl", first_day=20, num_days=num_days, a_day=40, parcels=mix)
        assert look(before, after, base)[0]["verdict"] == "none"


def test_few_rows_are_no_verdict(base: Path, before: Path, tmp_path: Path) -> None:
    found, signals = look(before, write_traffic(tmp_path / "after.jsonl", first_day=20, num_days=1, a_day=49), base)

    assert found["verdict"] == "too_few_rows"
    assert signals["topics"]["reason"] == "49 rows have it; 50 are needed"


def test_without_a_base_topics_are_absent_and_the_reason_is_said(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "none"))
    after = write_traffic(tmp_path / "after.jsonl", first_day=20, num_days=10)
    found = monitor.drift(after, workspace=tmp_path, watching=Watching(reference=before))
    topics = next(signal for signal in found["signals"] if signal["signal"] == "topics")

    assert topics["state"] == "absent"
    assert "luthier model pull" in topics["reason"]
    with pytest.raises(EnvironmentLacks):
        monitor.drift(after, workspace=tmp_path, watching=Watching(reference=before, base="smollm2-135m-instruct"))


def test_one_reference_is_needed_and_it_must_be_able_to_watch_something(
    base: Path, before: Path, tmp_path: Path
) -> None:
    for watching in (Watching(), Watching(release="a", reference=before)):
        with pytest.raises(RecipeError) as caught:
            monitor.drift(before, workspace=tmp_path, watching=watching)
        assert (caught.value.code, caught.value.exit_code) == ("E-MON-010", 2)
        assert caught.value.problems[0].fix.startswith("luthier monitor drift")
    small = write_traffic(tmp_path / "small.jsonl", first_day=0, num_days=1, a_day=10)
    with pytest.raises(DataError) as small_caught:
        look(small, before, base)
    problem = small_caught.value.problems[0]
    assert (problem.code, problem.origin) == ("E-MON-009", str(small))
    assert "only 10 rows" in problem.got


def test_the_command_prints_the_verdict_and_writes_metrics(base: Path, before: Path, tmp_path: Path) -> None:
    after = write_traffic(tmp_path / "after.jsonl", first_day=20, num_days=14, parcels=lambda _: 0.7)
    arguments = ["monitor", "drift", "--reference", str(before), "--traffic", str(after), "--base", str(base)]
    metrics = tmp_path / "drift.prom"
    done = CliRunner().invoke(luthier, [*arguments, "--metrics", str(metrics)], catch_exceptions=False)

    assert done.exit_code == 0
    assert done.stdout.startswith("drift: traffic has moved away")
    assert "parcel" in done.stdout
    families = {family.name: family for family in text_string_to_metric_families(metrics.read_text())}
    alarms = {sample.labels["signal"]: sample.value for sample in families["luthier_drift_alarm"].samples}
    assert alarms["topics"] == 1.0
    ratios = {sample.labels["signal"]: sample.value for sample in families["luthier_drift_statistic_ratio"].samples}
    assert {name: float(ratio > 1) for name, ratio in ratios.items()} == alarms
    as_json = CliRunner().invoke(luthier, [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(as_json.stdout)["verdict"] == "drift"


def test_dashboards_are_written_where_asked(tmp_path: Path) -> None:
    arguments = ["monitor", "dashboards", "support-desk", "--to", str(tmp_path / "watch"), "--json"]
    done = CliRunner().invoke(luthier, arguments, catch_exceptions=False)

    files = [Path(file) for file in json.loads(done.stdout)["files"]]
    assert [file.name for file in files] == ["grafana.json", "prometheus_rules.yaml"]
    assert all("support-desk" in file.read_text() for file in files)


def test_a_bad_line_ends_the_command_with_its_place(base: Path, before: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"time": "2026-03-02T10:00:00Z", "logprob": NaN}\n')
    done = CliRunner().invoke(luthier, ["monitor", "drift", "--reference", str(before), "--traffic", str(bad)])

    assert done.exit_code != 0
    assert isinstance(done.exception, DataError)
    assert f"{bad} line 1" in str(done.exception)


# A release's own reference.


def write_release(folder: Path, base: Path, before: Path) -> Path:
    """Write what of a release's folder the watch reads."""
    rows = read_traffic(before).rows
    observed = observe(rows, open_embeddings(base))
    data = to_bytes(build_reference(observed, seed=0, base=str(base), base_digest=compute_weights_digest(base)))
    folder.mkdir()
    (folder / "reference.json").write_bytes(data)
    certificate = Certificate(verdict="PASS", num_asked=1, num_probes=1, probes="0" * 64, steps=())
    identity = ReleaseIdentity(
        name="desk",
        base="tiny",
        base_digest="0" * 64,
        exports=(),
        files={"reference.json": sha256_bytes(data)},
        certificate=certificate,
        verdict="PASS",
    )
    release = Release(identity=identity, witness=ReleaseWitness(folder=""))
    (folder / "release.json").write_text(json.dumps(release.to_json()))
    (folder / "witness.json").write_text(release.witness.model_dump_json())
    return folder


def test_a_release_is_watched_by_the_reference_that_travels_in_it(base: Path, before: Path, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", base, before)
    after = write_traffic(tmp_path / "after.jsonl", first_day=20, num_days=20, parcels=lambda _: 0.6)
    found = monitor.drift(after, workspace=tmp_path, watching=Watching(release=str(release)))
    from_rows, _ = look(before, after, base)

    assert (found["verdict"], found["model"]) == ("drift", "desk")
    assert found["signals"] == from_rows["signals"], "the file gives back what the rows gave"


def test_another_base_a_changed_reference_and_no_log_are_refused(base: Path, before: Path, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", base, before)
    other = write_base(tmp_path / "other")
    (other / "config.json").write_text("{}")
    with pytest.raises(RecipeError) as caught:
        monitor.drift(before, workspace=tmp_path, watching=Watching(release=str(release), base=str(other)))
    assert (caught.value.code, caught.value.problems[0].got) == ("E-MON-011", str(other))
    assert caught.value.problems[0].fix.startswith("--base")

    with pytest.raises(DataError) as no_log:
        monitor.drift(None, workspace=tmp_path, watching=Watching(release=str(release)))
    assert no_log.value.code == "E-MON-005"
    with pytest.raises(RecipeError) as nothing:
        monitor.drift(None, workspace=tmp_path, watching=Watching(reference=before))
    assert nothing.value.code == "E-MON-010"

    for change in (b"{}", None):
        path = release / "reference.json"
        path.write_bytes(change) if change else path.unlink()
        with pytest.raises(DataError) as changed:
            monitor.drift(before, workspace=tmp_path, watching=Watching(release=str(release)))
        problem = changed.value.problems[0]
        assert (problem.code, problem.origin) == ("E-MON-007", str(path))
        assert problem.fix == f"luthier release verify {release}"


def test_status_says_what_is_watched_and_how_much_traffic_there_is(base: Path, before: Path, tmp_path: Path) -> None:
    assert monitor.status(tmp_path) == []
    made = write_release(tmp_path / "release", base, before)
    stored = json.loads((made / "release.json").read_text())
    release = Release.model_validate({part: stored[part] for part in ("identity", "witness")})
    store = Workspace.open(tmp_path)
    store.records.put(release, stage="deploy", cache_key="k")
    shutil.copytree(made, store.folder / "releases" / release.digest)
    log = store.folder / "telemetry" / release.digest
    log.mkdir(parents=True)
    for day in (22, 23):
        write_traffic(log / f"2026-03-{day}.jsonl", first_day=day - 2, num_days=1)

    (found,) = monitor.status(tmp_path)
    assert found.pop("bytes") == sum(file.stat().st_size for file in log.iterdir())
    assert found == {
        "name": "desk",
        "release": release.digest,
        "signals": ["text_length", "topics", "tokens_per_character", "confidence"],
        "num_rows": 400,
        "days": 2,
        "last_day": "2026-03-23",
    }
    shown = CliRunner().invoke(luthier, ["monitor", "status", "--workspace", str(tmp_path)], catch_exceptions=False)
    assert "2026-03-23" in shown.stdout


def test_the_traffic_log_of_a_release_is_found_in_the_workspace(base: Path, before: Path, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", base, before)
    digest = json.loads((release / "release.json").read_text())["digest"]
    log = tmp_path / ".luthier" / "telemetry" / digest
    log.mkdir(parents=True)
    write_traffic(log / "2026-03-22.jsonl", first_day=20, num_days=10)

    found = monitor.drift(None, workspace=tmp_path, watching=Watching(release=str(release)))
    assert (found["verdict"], found["traffic"]["num_rows"]) == ("none", 200)
