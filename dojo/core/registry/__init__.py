"""Model versions, the roles that they hold, and the bundle that a server loads."""
