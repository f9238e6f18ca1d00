"""The reference: what each signal looks like without drift, and where its alarm stands. It holds no row and no text.

``reference.json`` has, for each signal, what the detector keeps (quantiles of a number; centre and directions of
embeddings), the mean by weekday, counts, and the tail of the greatest statistic of sixty days without drift.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from luthier.foundation import registry
from luthier.foundation.core.errors import DataError
from luthier.foundation.core.hashing import canonical_json
from luthier.foundation.core.seeds import derive_seed
from luthier.instruments.measure.stats.drift import Baseline, Tail, calibrate, make_baseline
from luthier.stages.monitor.detector import Detector, Floats, State, Values
from luthier.stages.monitor.signals import DETECTORS, Observed, find_weekdays

FORMAT: Final = "luthier monitor reference"
VERSION: Final = 1
MIN_ROWS: Final = 50
MIN_ROWS_A_WEEKDAY: Final = 20
MIN_WEEKS: Final = 2
WEEKDAYS: Final = 7
DAYS_WITHOUT_TIMES: Final = 20
"""Rows without times are taken as the rows of so many days, to say how many a day of the traffic has."""


@dataclass(frozen=True, slots=True)
class SignalReference:
    """One signal of the reference.

    Attributes:
        num_rows: Rows that have it.
        state: What the detector keeps.
        baseline: Means and counts by weekday, or of all rows.
        tail: Where alarms stand.
    """

    name: str
    detector: str
    num_rows: int
    state: State
    baseline: Baseline
    tail: Tail

    def score(self, values_NV: Values) -> Floats:
        """Turn rows into the detector's scores."""
        return load_detector(self.detector).score(values_NV, self.state)

    def threshold(self, rate: float, num_signals: int) -> float:
        """Return where the alarm stands when each of several signals gets its share of the rate."""
        return self.tail.threshold(rate / num_signals)


@dataclass(frozen=True, slots=True)
class Reference:
    """What traffic is compared with.

    Attributes:
        num_rows: Rows that it was made from.
        by_weekday: Whether weekdays are told apart.
        signals: What is watched.
        absent: What is not, with the reason.
        base: Whose tokenizer and embeddings read the texts; empty where none did.
        base_digest: Digest of its weights.
    """

    num_rows: int
    by_weekday: bool
    signals: tuple[SignalReference, ...]
    absent: dict[str, str]
    base: str = ""
    base_digest: str = ""

    def groups(self, days_N: NDArray[np.int64] | None, num_rows: int) -> NDArray[np.int64]:
        """Return each row's group: its weekday where the reference tells weekdays apart, else 0."""
        if days_N is None or not self.by_weekday:
            return np.zeros(num_rows, dtype=np.int64)
        return find_weekdays(days_N)


def load_detector(name: str) -> Detector:
    """Return a detector's runtime half."""
    detector: Detector = registry.load_runtime("detectors", name)
    return detector


def build_reference(observed: Observed, *, seed: int, base: str = "", base_digest: str = "") -> Reference:
    """Learn what each signal looks like and calibrate its alarm.

    Args:
        observed: Rows without drift.
        seed: Root of the seed of the draws.
        base: Whose embeddings were read.
        base_digest: Digest of its weights.

    Returns:
        A reference that may watch nothing, where there are few rows: see :func:`refuse_empty`.
    """
    by_weekday = knows_weekdays(observed.days_N)
    signals, absent = [], dict(observed.absent)
    for name, values_NV in observed.values.items():
        has_value = ~np.isnan(values_NV).any(axis=1)
        if has_value.sum() < MIN_ROWS:
            absent[name] = f"only {has_value.sum()} rows of the reference have it; {MIN_ROWS} are needed"
            continue
        days = observed.days_N[has_value] if observed.days_N is not None else None
        found = _learn(name, values_NV[has_value], days, by_weekday=by_weekday, seed=seed)
        if found is None:
            absent[name] = "it is the same in every row of the reference"
        else:
            signals.append(found)
    return Reference(observed.num_rows, by_weekday, tuple(signals), absent, base, base_digest)


def refuse_empty(reference: Reference, *, origin: str) -> None:
    """Refuse to compare anything with a reference that watches nothing.

    Raises:
        DataError: E-MON-009.
    """
    if not reference.signals:
        raise DataError(
            "E-MON-009",
            "the reference has no signal that could be watched",
            got=f"{reference.num_rows} rows; " + "; ".join(f"{name}: {why}" for name, why in reference.absent.items()),
            origin=origin,
            allowed=f"at least {MIN_ROWS} rows with a text or a number that varies",
            fix="--reference FILE with more rows",
        )


def _learn(
    name: str, values_NV: Values, days_N: NDArray[np.int64] | None, *, by_weekday: bool, seed: int
) -> SignalReference | None:
    detector = load_detector(DETECTORS[name])
    weekdays = find_weekdays(days_N) if by_weekday and days_N is not None else None
    is_split = weekdays is not None and np.bincount(weekdays, minlength=WEEKDAYS).min() >= MIN_ROWS_A_WEEKDAY
    groups_N = weekdays if is_split and weekdays is not None else np.zeros(len(values_NV), dtype=np.int64)
    state = detector.fit(values_NV, groups_N, registry.load_config("detectors", DETECTORS[name])())
    if state is None:
        return None
    scores_ND = detector.score(values_NV, state)
    baseline = make_baseline(scores_ND, groups_N, int(groups_N.max()) + 1)
    num_days = len(np.unique(days_N)) if days_N is not None else DAYS_WITHOUT_TIMES
    tail = calibrate(
        scores_ND - baseline.means_GD[groups_N],
        groups_N,
        rows_a_day=len(values_NV) / num_days,
        random=np.random.default_rng(derive_seed(seed, "monitor", "calibrate", name)),
    )
    return SignalReference(name, DETECTORS[name], len(values_NV), state, baseline, tail)


def knows_weekdays(days_N: NDArray[np.int64] | None) -> bool:
    """Say whether each weekday occurs on days of at least two weeks: less would take one day's chance for a season."""
    if days_N is None:
        return False
    return bool(np.bincount(find_weekdays(np.unique(days_N)), minlength=WEEKDAYS).min() >= MIN_WEEKS)


def to_bytes(reference: Reference) -> bytes:
    """Write ``reference.json``: canonical JSON, arrays as base64 of little-endian numbers."""
    return canonical_json(
        {
            "format": FORMAT,
            "version": VERSION,
            "num_rows": reference.num_rows,
            "by_weekday": reference.by_weekday,
            "base": reference.base,
            "base_digest": reference.base_digest,
            "absent": reference.absent,
            "signals": [
                {
                    "name": signal.name,
                    "detector": signal.detector,
                    "num_rows": signal.num_rows,
                    "state": {name: _pack(array) for name, array in signal.state.items()},
                    "means": _pack(signal.baseline.means_GD),
                    "counts": _pack(signal.baseline.counts_G),
                    "tail": {"level": signal.tail.level, "scale": signal.tail.scale},
                }
                for signal in reference.signals
            ],
        }
    )


def from_bytes(data: bytes, *, origin: str) -> Reference:
    """Read ``reference.json`` back.

    Raises:
        DataError: E-MON-007 where it is damaged, or of a version that this one does not know.
    """
    try:
        stored = json.loads(data)
        if stored["format"] != FORMAT or stored["version"] != VERSION:
            raise _unreadable(origin, f"{stored['format']} version {stored['version']}")
        return Reference(
            int(stored["num_rows"]),
            bool(stored["by_weekday"]),
            tuple(_read_signal(entry) for entry in stored["signals"]),
            {str(name): str(why) for name, why in stored["absent"].items()},
            str(stored["base"]),
            str(stored["base_digest"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
        if isinstance(error, DataError):
            raise
        raise _unreadable(origin, f"{type(error).__name__}: {error}") from error


def _read_signal(entry: dict[str, Any]) -> SignalReference:
    tail = Tail(float(entry["tail"]["level"]), float(entry["tail"]["scale"]))
    baseline = Baseline(_unpack(entry["means"]), _unpack(entry["counts"]))
    state = {name: _unpack(packed) for name, packed in entry["state"].items()}
    name, detector = str(entry["name"]), str(entry["detector"])
    return SignalReference(name, detector, int(entry["num_rows"]), state, baseline, tail)


def _pack(array: NDArray[Any]) -> dict[str, Any]:
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {
        "dtype": plain.dtype.str,
        "shape": list(plain.shape),
        "data": base64.b64encode(plain.tobytes()).decode("ascii"),
    }


def _unpack(packed: dict[str, Any]) -> NDArray[Any]:
    kind = {"<f4": np.float32, "<f8": np.float64}[packed["dtype"]]
    return np.frombuffer(base64.b64decode(packed["data"], validate=True), dtype=kind).reshape(packed["shape"])


def _unreadable(origin: str, got: str) -> DataError:
    return DataError(
        "E-MON-007",
        "the reference cannot be read",
        got=got,
        origin=origin,
        allowed=f"{FORMAT}, version {VERSION}",
        fix="luthier release verify RELEASE",
    )
