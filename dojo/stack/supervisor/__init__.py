"""The embedded stack's supervisor: starts the platform's processes in order, keeps them healthy, stops them without a trace.

`processes.py` is the table of what runs; `lifecycle.py` decides (pure), `supervisor.py` acts; `control.py` is what
`dojo up`, `down` and `status` use from outside.
"""
