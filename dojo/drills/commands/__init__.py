"""`dojo drill`."""
