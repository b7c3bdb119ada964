"""Values are written as Grafana writes them."""

import pytest

from devtools.dashboards.formatting import written


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 s"),
        (0.00042, "s", "420 µs"),
        (0.00735, "s", "7.35 ms"),
        (0.25, "s", "250 ms"),
        (12.5, "s", "12.5 s"),
        (90, "s", "1.5 min"),
        (512, "bytes", "512 B"),
        (96 * 2**20, "bytes", "96 MiB"),
        (0.125, "percentunit", "12.5 %"),
        (7, "short", "7"),
        (123_456, "short", "123 K"),
        (42.42, "suffix: tokens/s", "42.4 tokens/s"),
        (3, "suffix:/s", "3 /s"),
    ],
)
def test_a_value_with_its_unit(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text
