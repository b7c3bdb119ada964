"""Plain technical English: no text that people read has a listed phrase."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
import yaml

from deploy.chart.values import read_values
from deploy.grafana.generator.__main__ import boards
from devtools.documents import command_help
from processor.api.openapi import describe
from processor.config.settings import Settings
from processor.telemetry.metrics import Metrics
from support.lab import ROOT
from support.pages import pages, prose

PHRASES: Mapping[str, str] = {
    r"mend(?:s|ed|ing)?": "repair, correct",
    r"anew": "again",
    r"tell(?:s|ing)?|told": "report, state, show",
    r"say(?:s|ing)?|said": "state, print, report",
    r"(?:is|are) (?-i:none)": "there is no ...",
    r"for good": "permanently",
    r"for ?ever": "without end, indefinitely",
    r"nothing of": "none of",
    r"so many": "a number of",
    r"let(?:s|ting)? go": "release, evict",
    r"put(?:s|ting)? (?:aside|away)": "set aside, evict",
    r"(?:stands?|stood)(?!-)": "is, are",
    r"what (?:comes|came)": "the next record, what arrived",
    r"hand(?:s|ed|ing)? on": "pass on",
    r"in force": "valid, active",
    r"as it is|as they are": "unchanged",
    r"conflat\w*": "roll-up",
    r"reckon(?:s|ed|ing)?": "estimate, compute",
}
"""Regular expressions of whole words, without case, and what to write instead."""
FOUND = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b", re.IGNORECASE)

Texts = Iterator[tuple[str, str]]
"""Where a text is, and the text."""


def markdown() -> Texts:
    for page in pages():
        yield str(page.relative_to(ROOT)), prose(page.read_text())


def help_texts() -> Texts:
    for command in command_help():
        yield command.name, command.help
        for option, text in command.options:
            yield f"{command.name} {option}", text


def settings() -> Texts:
    for row in Settings.describe():
        yield row.name, row.meaning


def metrics() -> Texts:
    for family in Metrics().registry.collect():
        if family.name.startswith("tokenstream_"):
            yield family.name, family.documentation


def alerts() -> Texts:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        for name, text in rule.get("annotations", {}).items():
            yield f"{rule['alert']} {name}", text


def dashboards() -> Texts:
    """Yields what Grafana shows of each board: its texts, those of its rows and panels, and the names of series."""
    for board in boards():
        yield board.uid, f"{board.title}. {board.description}"
        for row in board.rows:
            yield board.uid, row.title
            for panel in row.panels:
                texts = (panel.title, panel.description, panel.no_value, *(query.legend for query in panel.queries))
                yield from ((f"{board.uid}: {panel.title}", text) for text in texts)


def chart_values() -> Texts:
    for value in read_values():
        yield value.name, value.description


def openapi() -> Texts:
    def walk(where: str, value: object) -> Texts:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("summary", "description") and isinstance(inner, str):
                    yield f"{where} {key}", inner
                else:
                    yield from walk(f"{where}/{key}", inner)

    yield from walk("openapi", describe(""))


@cache
def _modules() -> Sequence[tuple[str, ast.Module, str]]:
    paths = [
        path
        for folder in ("topics", "processor", "devtools", "deploy", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text()), path.read_text()) for path in paths]


def docstrings() -> Texts:
    """Yields docstrings, also of attributes: every string that is a statement of its own."""
    for name, module, _ in _modules():
        for node in ast.walk(module):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield f"{name}:{node.lineno}", prose(node.value.value)


def comments() -> Texts:
    for name, _, source in _modules():
        for number, line in enumerate(source.splitlines(), 1):
            if "#" in line:
                yield f"{name}:{number}", prose(line.partition("#")[2])


def error_strings() -> Texts:
    """Yields the strings of `raise` statements."""
    for name, module, _ in _modules():
        for raised in (node for node in ast.walk(module) if isinstance(node, ast.Raise)):
            for node in ast.walk(raised):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield f"{name}:{node.lineno}", node.value


PLACES: Mapping[str, Callable[[], Texts]] = {
    "Markdown": markdown,
    "--help": help_texts,
    "settings": settings,
    "metrics": metrics,
    "alerts": alerts,
    "dashboards": dashboards,
    "chart values": chart_values,
    "OpenAPI": openapi,
    "docstrings": docstrings,
    "comments": comments,
    "error strings": error_strings,
}


def found_in(texts: Texts) -> list[str]:
    return [f"{where}: {found[0]}" for where, text in texts for found in FOUND.finditer(text)]


@pytest.mark.parametrize("place", PLACES)
def test_no_listed_phrase_is_in(place: str) -> None:
    assert found_in(PLACES[place]()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "Mend the key.",
        "It says why.",
        "It is told.",
        "retries for ever",
        "as\nit is",
        "The text stands in Kafka.",
        "handed on",
    ],
)
def test_a_planted_phrase_is_found(planted: str) -> None:
    assert found_in(iter([("page", " ".join(planted.split()))])) != []


def test_code_is_not_searched(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`told`\n\n```\nmend anew\n```\n\nPlain\nwords.\n")
    assert found_in(iter([("page", prose(page.read_text()))])) == []
