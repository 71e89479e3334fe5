"""The one fork server of the tests. They fork recorders, monitors and tasks from it and kill them.

Python has one fork server per process. The first request starts it, with the imports wanted by
then. So two modules with different wishes would get each other's imports.
"""

from __future__ import annotations

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.integration.warm_imports"])
