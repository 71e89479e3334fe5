"""Commands on versions, routes and rollouts."""
