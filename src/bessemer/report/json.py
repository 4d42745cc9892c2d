"""Evidence as JSON. The schema stands in docs/evidence.schema.json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def render(record: BaseModel) -> str:
    """Any record of the evidence as indented JSON; floats that JSON lacks become null."""
    return record.model_dump_json(indent=2) + "\n"


def schema() -> str:
    """The JSON schema of `Evidence`, as published in the documentation."""
    from bessemer.verify.evidence import Evidence

    return json.dumps(Evidence.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
