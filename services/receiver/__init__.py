"""Where Alertmanager's notifications arrive: a local inbox that shows what a person would have received (`dojo alerts`)."""
