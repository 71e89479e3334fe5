"""`dojo demo`: the whole loop once, in front of a viewer. It uses only the users' own commands."""
