"""Clients of the gateway that others wrote, each with its packages in an environment of its own.

`pins/NAME.txt` fixes the packages of a client. Its first lines are the command that wrote it. A
`call_*.py` runs in a client's environment and prints what the client got, as JSON.
"""
