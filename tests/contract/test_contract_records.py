"""Records' contract: every field with its type, and the digest of one example of each kind.

A digest is a name that workspaces keep. Where one of these tests goes red, records that lie in workspaces out there
change their names or are no longer read. To change a record on purpose: raise its ``SCHEMA_VERSION``, enter an upgrade
in ``foundation/store/kinds.py``, keep the old file in ``tests/compat`` and add the new version's, then bring the table
and the digests below up to date.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from luthier.foundation.store.kinds import KINDS
from tests.fixtures.example_records import make_examples

DIGESTS = {
    "dataset_version": "3d1554e574d274bf82cfa5ad99f92223df66820368955d2929724fa1b3c88d50",
    "model_choice": "50110d952a4f265bd9f0c20d055b20f5c0d5d5261533cf4c2b8bbfc040947e7d",
    "plan": "03639f5b53d452782726a64804327770e615467ad705305bd2acc9f8f75ed5fa",
    "run": "1c9323ad5a9f8fb36aebd200314ca8cad91211f190f936b565803e3cee6a58d8",
    "report": "ca534dd3ddde74f97fbdf02fb1791b092d9c6819ef47c467691feb5a1db82677",
    "release": "21bb9e2a3e50fd83fb1d15ec10dc7be349a2b477d8ab8cc7fb22ed8c4a33f50a",
    "monitor_reference": "86f464dd93acfcf4465b990736dd3f79899123cac2403fdc5d9e9928d23bbd88",
}

# `[]` stands for each entry of a list, `{}` for each value of a mapping, `?` for what has a default.
FIELDS = {
    "dataset_version": """
identity.parents?{}: digest
identity.sources[].digest: digest
identity.sources[].format: string
identity.sources[].form: string
identity.sources[].num_rows: integer
identity.sources[].license?: string | null
identity.sources[].basis?: string | null
identity.waterfall[].operator: string
identity.waterfall[].rows_in: integer
identity.waterfall[].rows_out: integer
identity.waterfall[].changed?: integer
identity.waterfall[].flagged?: integer
identity.waterfall[].dropped?: integer
identity.waterfall[].reasons?{}: integer
identity.splits{}.blob: digest
identity.splits{}.num_rows: integer
identity.ledger: digest
identity.ranking?: digest | null
identity.operators?[]: object
witness.paths?[]: string
witness.seconds?: number
""",
    "model_choice": """
identity.parents?{}: digest
identity.name: string
identity.weights: digest
identity.shape.architecture: string
identity.shape.num_parameters: integer
identity.shape.vocabulary: integer
identity.shape.width: integer
identity.shape.num_layers: integer
identity.shape.num_heads: integer
identity.shape.num_key_value_heads: integer
identity.shape.head_width: integer
identity.shape.feed_forward: integer
identity.shape.max_positions: integer
identity.shape.is_tied: boolean
identity.shape.num_experts?: integer
identity.shape.experts_per_token?: integer
identity.shape.sliding_window?: integer | null
identity.shape.linear_shapes?{}: (integer, integer)
identity.licence.licence: string
identity.licence.verdict: allowed|denied|unknown
identity.licence.reason: string
identity.licence.source?: string
identity.licence.checked_on?: string
identity.chat_template: digest
identity.tool_template: string
identity.end_token: string
identity.quantise?: string
witness.path: string
witness.origin?: string
witness.memory_bytes?: integer
witness.seconds?: number
""",
    "plan": """
identity.parents?{}: digest
identity.launcher: string
identity.backend: string
identity.precision: fp32|bf16
identity.seed: integer
identity.num_examples: integer
identity.examples: digest
identity.max_length: integer
identity.too_long: string
identity.batch_tokens: integer
identity.pack_tokens: integer
identity.epochs: number
identity.num_steps: integer
identity.warmup_steps: integer
identity.learning_rate: number
identity.weight_decay: number
identity.max_grad_norm: number
identity.gradient_checkpointing: boolean
identity.checkpoint_every: integer
identity.evaluate_every: integer
identity.method: object
identity.objective: object
identity.probes: digest
witness.hardware?: object
witness.memory_bytes?{}: integer
witness.peak_memory_bytes?: integer
witness.seconds_estimate?: number
witness.rate_tokens_per_second?: number
witness.num_tokens?: integer
witness.num_trained_tokens?: integer
witness.reasons?[].field: string
witness.reasons?[].value: string
witness.reasons?[].reason: string
witness.seconds?: number
""",
    "run": """
identity.parents?{}: digest
identity.weights: digest
identity.files{}: digest
identity.method: object
identity.base: digest
identity.probe_scores: digest
identity.num_steps: integer
identity.best_step: integer
identity.train_loss: number
identity.validation_loss?: number | null
witness.run_id?: string
witness.seconds?: number
witness.rate_tokens_per_second?: number
witness.peak_memory_bytes?: integer
witness.num_resumes?: integer
witness.host?: string
witness.metrics?: digest | null
""",
    "report": """
identity.parents?{}: digest
identity.systems[]: string
identity.suites[]: object
identity.metrics[].metric: string
identity.metrics[].system: string
identity.metrics[].value: number
identity.metrics[].interval: (number, number)
identity.metrics[].confidence?: number
identity.metrics[].n: integer
identity.metrics[].clusters: integer
identity.metrics[].method: string
identity.metrics[].is_rough?: boolean
identity.differences[].metric: string
identity.differences[].first: string
identity.differences[].second: string
identity.differences[].value: number
identity.differences[].interval: (number, number)
identity.differences[].confidence?: number
identity.differences[].p: number
identity.differences[].p_holm?: number | null
identity.differences[].test: string
identity.differences[].n: integer
identity.differences[].clusters: integer
identity.differences[].discordant: integer
identity.differences[].detectable: number
identity.differences[].needed?: integer | null
identity.differences[].higher_is_better?: boolean
identity.differences[].is_rough?: boolean
identity.gates[].metric: string
identity.gates[].against: string
identity.gates[].rule: string
identity.gates[].verdict: PASS|FAIL|INCONCLUSIVE
identity.gates[].value: number
identity.gates[].bound: number
identity.gates[].p?: number | null
identity.gates[].n: integer
identity.gates[].needed?: integer | null
identity.gates[].reason: string
identity.verdict: PASS|FAIL|INCONCLUSIVE
identity.questions: digest
identity.answers: digest
witness.seconds?: number
witness.peak_memory_bytes?: integer
witness.num_answers?: integer
witness.html?: string
""",
    "release": """
identity.parents?{}: digest
identity.name: string
identity.base: string
identity.base_digest: digest
identity.exports[]: string
identity.files{}: digest
identity.certificate.verdict: PASS|FAIL
identity.certificate.broken_step?: string
identity.certificate.num_asked: integer
identity.certificate.num_probes: integer
identity.certificate.probes: digest
identity.certificate.steps[].step: string
identity.certificate.steps[].contract: string
identity.certificate.steps[].is_within: boolean
identity.certificate.steps[].num_probes: integer
identity.certificate.steps[].num_tokens: integer
identity.certificate.steps[].reason?: string
identity.verdict: PASS|FAIL|INCONCLUSIVE
identity.override?: string
witness.folder: string
witness.files?{}: digest
witness.created?: string
witness.seconds?: number
witness.audit_head?: string
witness.measured?[].step: string
witness.measured?[].num_tokens?: integer
witness.measured?[].max_delta: number
witness.measured?[].mean_delta: number
witness.measured?[].top1_agreement: number
witness.measured?[].num_decided: integer
witness.noise_floor?: number
witness.signature?: string
witness.approvals?[]: string
""",
    "monitor_reference": """
identity.parents?{}: digest
identity.mode: watch|reference
identity.reference: digest
identity.false_alarm_rate: number
identity.horizon_days: integer
identity.signals[].name: string
identity.signals[].detector: string
identity.signals[].num_rows: integer
identity.signals[].num_dimensions: integer
identity.signals[].threshold: number
identity.absent?{}: string
identity.base?: string
identity.base_digest?: digest | null
identity.dashboards?{}: digest
witness.seconds?: number
witness.folder?: string
""",
}


def list_fields(schema: Mapping[str, Any], definitions: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield one line a leaf of a JSON Schema: where it is and what it holds."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "properties" in schema:
        for name, inner in schema["properties"].items():
            mark = "" if name in schema.get("required", ()) else "?"
            yield from list_fields(inner, definitions, f"{place}.{name}{mark}".lstrip("."))
    elif "items" in schema:
        yield from list_fields(schema["items"], definitions, f"{place}[]")
    elif isinstance(schema.get("additionalProperties"), dict):
        yield from list_fields(schema["additionalProperties"], definitions, f"{place}{{}}")
    else:
        yield f"{place}: {' | '.join(name_type(form) for form in schema.get('anyOf', [schema]))}"


def name_type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "|".join(schema["enum"])
    if "prefixItems" in schema:
        return f"({', '.join(name_type(item) for item in schema['prefixItems'])})"
    return "digest" if schema.get("pattern") == "^[0-9a-f]{64}$" else schema["type"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_fields_of_a_record_are_as_promised(kind: str) -> None:
    schema = KINDS[kind].record_class.model_json_schema()

    assert list(list_fields(schema, schema["$defs"])) == FIELDS[kind].split("\n")[1:-1]


def test_digests_of_the_examples_are_as_ever() -> None:
    assert {kind: record.digest for kind, record in make_examples().items()} == DIGESTS


def test_every_kind_has_an_example_with_every_field_filled() -> None:
    """An example that leaves a field at its default would not notice that the field's form changes."""
    examples = make_examples()

    assert set(examples) == set(KINDS)
    for kind, record in examples.items():
        left_out = {
            f"{part}.{name}"
            for part in ("identity", "witness")
            for name in set(type(getattr(record, part)).model_fields) - getattr(record, part).model_fields_set
        }
        assert left_out <= {"identity.parents"}, kind


def test_nothing_of_the_witness_is_hashed_and_all_of_the_identity_is() -> None:
    """Change each field of each example by itself: the identity's move the digest, the witness's do not."""
    for kind, record in make_examples().items():
        for name in type(record.witness).model_fields:
            witness = record.witness.model_copy(update={name: "another"})
            assert record.model_copy(update={"witness": witness}).digest == DIGESTS[kind], f"{kind}: witness.{name}"
        for name in type(record.identity).model_fields:
            identity = record.identity.model_copy(update={name: ["another"]})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # pydantic on a value that its field would not take
                digest = record.model_copy(update={"identity": identity}).digest
            assert digest != DIGESTS[kind], f"{kind}: identity.{name}"
