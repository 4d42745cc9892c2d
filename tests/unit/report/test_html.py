"""The page: well-formed, self-contained, escaped, and honest."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from bessemer.report import html
from bessemer.verify.evidence import Evidence

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks nesting and keeps what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pills: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        last = self.tags[-1] if self.tags else ("", {})
        if self.open and self.open[-1] == "span" and "pill" in (last[1].get("class") or ""):
            self.pills.append(data)


@pytest.fixture
def text(sample: Evidence) -> str:
    return html.render(sample)


def test_it_is_well_formed_with_unique_ids(text: str) -> None:
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {f"#{name}" for name in ids}
    assert {attrs["href"] for tag, attrs in page.tags if tag == "a"} <= targets


def test_it_needs_nothing_else(text: str) -> None:
    """No script, no image, no font, no style sheet, no request of any kind; a policy forbids them too."""
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
    }
    assert not re.search(r"https?://|url\(|@import|javascript:", text)
    policies = [
        attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == [html.SECURITY]


def test_names_in_a_hostile_model_stay_text(sample: Evidence) -> None:
    row = sample.targets[0]
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}'
    output = row.outputs[0].model_copy(update={"name": evil})
    rows = [row.model_copy(update={"outputs": [output], "operators": {evil: 3}, "notes": [evil]})]
    source = sample.source.model_copy(update={"path": evil, "operators": {evil: 1}})
    page = html.render(sample.model_copy(update={"targets": rows, "source": source}))
    assert "<script" not in page
    assert "<img" not in page
    assert "49" not in page.split("{{ 7*7 }}")[0][-20:]
    Page(page)


def test_only_verified_rows_say_so(sample: Evidence) -> None:
    for row in sample.targets:
        pills = Page(html.render(sample.model_copy(update={"targets": [row]}))).pills
        assert ("verified" in pills) == row.verified


def test_every_fact_of_the_evidence_is_there(sample: Evidence, text: str) -> None:
    for row in sample.targets:
        for blocker in row.blockers:
            assert blocker.rule in text
            assert blocker.rewrite in text
        assert all(file.sha256 in text for file in row.files)
        assert all(border.changed in text for border in row.borders)
        assert all(name in text for name in row.operators)
    assert "block5/conv" in text
    assert "300.8 M" in text
    assert all(line.name in text for line in sample.passes)
    assert all(held in text for held in sample.manifest.versions.values())


def test_it_is_accessible(text: str) -> None:
    page = Page(text)
    attributes = dict(page.tags)
    assert attributes["html"]["lang"] == "en"
    assert "viewport" in text
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")
    assert all(attrs.get("aria-label") for _, attrs in page.tags if attrs.get("role") == "region")
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_a_report_without_rows_or_passes_is_a_page(sample: Evidence) -> None:
    Page(html.render(sample.model_copy(update={"targets": [], "passes": []})))
