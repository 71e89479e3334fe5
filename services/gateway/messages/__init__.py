"""The messages of callers and the gateway: requests, answers and problems."""
