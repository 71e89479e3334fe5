"""Model versions: who holds which role, and the bundle that a server loads."""
