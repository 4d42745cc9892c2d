"""JSON: the published schema is current, and a report survives the trip."""

from __future__ import annotations

import json
from pathlib import Path

from bessemer.report import json as as_json
from bessemer.verify.evidence import Evidence

SCHEMA = Path(__file__).parents[3] / "docs" / "evidence.schema.json"


def test_the_published_schema_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == as_json.schema(), (
        "run: python scripts/gen_evidence_schema.py"
    )


def test_a_report_survives_the_trip(sample: Evidence) -> None:
    assert Evidence.model_validate_json(as_json.render(sample)) == sample


def test_infinities_become_null(sample: Evidence) -> None:
    row = sample.targets[0]
    endless = row.outputs[0].model_copy(update={"max_abs": float("inf"), "snr": float("-inf")})
    text = as_json.render(row.model_copy(update={"outputs": [endless]}))
    assert json.loads(text, parse_constant=lambda name: 1 / 0)["outputs"][0]["max_abs"] is None
