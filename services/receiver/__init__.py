"""Where Alertmanager's notifications arrive.

It is a local inbox that shows what a person would have received (`dojo alerts`).
"""
