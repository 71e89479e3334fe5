"""Grafana's dashboards as code: `python -m monitoring.grafana` writes dashboards/*.json, which Grafana is provisioned with.

`schema.py` knows Grafana's JSON, `vocabulary.py` what our dashboards share, `boards/` has one module per dashboard. The written files are
committed, because people without Python provision them too; a test holds them to this code.
"""
