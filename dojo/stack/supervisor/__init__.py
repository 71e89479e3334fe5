"""The embedded stack's supervisor.

It starts the platform's processes in order, keeps them healthy, and stops all of them.

`dojo/stack/table.py` lists the processes. `lifecycle.py` decides (pure) and `supervisor.py` acts.
`dojo up`, `down` and `status` use `dojo/stack/control.py` from outside.
"""
