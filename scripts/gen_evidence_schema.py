"""Write docs/evidence.schema.json from the records in bessemer.verify.evidence."""

from pathlib import Path

from bessemer.report.json import schema

if __name__ == "__main__":
    place = Path(__file__).parent.parent / "docs" / "evidence.schema.json"
    place.write_text(schema(), encoding="utf-8")
