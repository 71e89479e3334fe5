"""The one process that tests fork their victims from: recorders, monitors and tasks that are killed by the dozen.

Python has one fork server per process, which the first to ask for one starts, with what is asked to be imported by then: two modules
with wishes of their own would get each other's.
"""

from __future__ import annotations

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.integration.warm_imports"])
