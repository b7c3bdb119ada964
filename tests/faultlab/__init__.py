"""Faults on real processes, counted: `python -m faultlab`. See docs/reliability.md, which it writes."""
