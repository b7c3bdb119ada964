"""The pieces of the pages that tests run, each after a comment `<!-- test: name -->`."""

import re

from support.lab import ROOT

PRODUCER = "docs/quickstart-producer.md"
WEB = "docs/quickstart-web.md"
OPERATOR = "docs/quickstart-operator.md"


def snippet(page: str, name: str) -> str:
    found = re.search(rf"<!-- test: {name} -->\n```\w*\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found, f"{page} has no {name}"
    return found.group(1)
