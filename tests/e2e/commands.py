"""`python -m tests.e2e.commands JSON`: runs `dojo` commands in turn, each with `--json`.

The argument is a list of commands, each a list of words. Each answer is one line of JSON. The first
failure ends it with its exit code and output.
"""

from __future__ import annotations

import json
import sys

from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.core.private import keep_private


def main() -> int:
    keep_private()
    commands = build()
    for words in json.loads(sys.argv[1]):
        done = CliRunner().invoke(commands, [*words, "--json"])
        if done.exit_code != 0:
            sys.stderr.write(f"dojo {' '.join(words)} ended with {done.exit_code}:\n{done.output}")
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                raise done.exception
            return done.exit_code
        sys.stdout.write(json.dumps(json.loads(done.stdout)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
