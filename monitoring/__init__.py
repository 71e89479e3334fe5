"""What watches the platform: rules, routes of alerts, dashboards, runbooks. Configuration, and the code that writes some of it."""
