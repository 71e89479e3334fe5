"""Commands on the simulated world and its data."""
