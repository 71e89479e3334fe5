"""Runs a command that ends with its parent: `python tether.py PARENT_PID COMMAND...`.

Linux only. It uses only the standard library and is run by its path.

A kill -9 of the supervisor leaves it no chance to stop its children. So the kernel sends them
SIGTERM. This program stands in place of `preexec_fn`, which is not safe in a process with threads.
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
