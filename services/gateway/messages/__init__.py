"""What callers send and what they get: requests, answers and problems."""
