"""PromQL in the few forms that the dashboards use. Every series is selected by the dashboard's variables."""

VARIABLES = ("job", "namespace", "pod")
SELECTED = ",".join(f'{name}=~"${name}"' for name in VARIABLES)
WINDOW = "$__rate_interval"
RARE = "5m"
"""The window for what happens about once a minute."""


def series(name: str, *matchers: str) -> str:
    return f"{name}{{{','.join((SELECTED, *matchers))}}}"


def rate(name: str, *matchers: str, by: tuple[str, ...] = (), over: str = WINDOW) -> str:
    """A counter's rate per second, summed but for the labels in `by`."""
    return total(f"rate({series(name, *matchers)}[{over}])", by=by)


def increase(name: str, *matchers: str, over: str, by: tuple[str, ...] = ()) -> str:
    return total(f"increase({series(name, *matchers)}[{over}])", by=by)


def gauge(name: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    return total(series(name, *matchers), by=by)


def total(expr: str, *, by: tuple[str, ...] = ()) -> str:
    return f"sum{grouped(by)}({expr})"


def highest(name: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    return f"max{grouped(by)}({series(name, *matchers)})"


def lowest(name: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    return f"min{grouped(by)}({series(name, *matchers)})"


def quantile(part: float, histogram: str, *, by: tuple[str, ...] = (), over: str = WINDOW) -> str:
    """NaN, drawn as nothing, while nothing was observed."""
    return f"histogram_quantile({part:g}, {rate(f'{histogram}_bucket', by=('le', *by), over=over)})"


def mean(histogram: str) -> str:
    return share(rate(f"{histogram}_sum"), rate(f"{histogram}_count"))


def share(part: str, whole: str) -> str:
    """NaN, drawn as nothing, while the whole is zero."""
    return f"{part} / {whole}"


def grouped(by: tuple[str, ...]) -> str:
    return f" by ({', '.join(by)}) " if by else " "
