"""How Chromium is started: `devtools/chromium.mjs`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PLAYWRIGHT = ROOT / "node_modules" / "playwright-core" / "lib" / "coreBundle.js"


def test_no_feature_that_playwright_disables_is_enabled_again() -> None:
    found = re.search(r"disabledFeatures = \[(.*?)\]", PLAYWRIGHT.read_text(), re.DOTALL)
    assert found is not None
    disabled = re.findall(r'^\s*"(\w+)",?$', found[1], re.MULTILINE)
    assert len(disabled) > 5
    ours = (ROOT / "devtools" / "chromium.mjs").read_text()
    assert [name for name in disabled if f"'{name}'" not in ours] == []
