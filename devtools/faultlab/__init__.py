"""Faults on real processes, counted: `python -m devtools.faultlab`. See docs/results/reliability.md, which it writes."""
