"""Moves the shares of bandits: reads answers and labels, counts rewards, changes the route."""
