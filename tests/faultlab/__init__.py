"""Faults on real processes, counted: `python -m faultlab`. See docs/results/reliability.md, which it writes."""
