"""Grafana's dashboards as code: `python -m monitoring.grafana` writes dashboards/*.json, which Grafana is provisioned with.

`schema.py` makes pages with grafana-foundation-sdk (ADR 0021), `panels.py` the kinds of panels.
`vocabulary.py` has what our dashboards share, `boards/` one module per dashboard. The written files are
committed, because people without Python provision them too. A test holds them to this code.
"""
