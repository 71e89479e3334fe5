"""The configuration that watches the platform: rules, routes of alerts, dashboards, runbooks.

Code beside it writes some of it.
"""
