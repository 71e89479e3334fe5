"""Runs a command that ends with its parent: `python tether.py PARENT_PID COMMAND...` (Linux; stdlib only, run by path).

A kill -9 of the supervisor leaves it no chance to stop its children, so the kernel does: it sends them SIGTERM. A small
program of its own instead of `preexec_fn`, which is not safe in a process that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives execve

if __name__ == "__main__":
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the supervisor died before its child began")
    os.execvp(command[0], command)
