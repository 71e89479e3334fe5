"""Grafana's dashboards as code: `python -m monitoring.grafana` writes them to dashboards/*.json.

`schema.py` makes pages with grafana-foundation-sdk (ADR 0021), `panels.py` the kinds of panels.
`vocabulary.py` has the parts that our dashboards share, `boards/` one module per dashboard. Grafana
is provisioned with the written files. They are committed, because people without Python provision
them too. A test holds them to this code.
"""
