"""`dojo demo`: the whole loop once, in front of a viewer. It only calls what any user can call."""
