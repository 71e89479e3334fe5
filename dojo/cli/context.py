"""The platform as every command uses it, and how errors become messages."""

from __future__ import annotations

import getpass
import os
import sys
from types import TracebackType
from typing import Annotated, NamedTuple

import typer

from dojo.actions.desk import Desk

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def not_given() -> None:
    """The default of a value that the command finds by itself.

    A callback finds it, because completion with Tab must not.
    """


def ask_why(ctx: typer.Context, why: str | None) -> str | None:
    """The reason. A person at a terminal is asked for a missing one, a script is refused."""
    if why is not None or ctx.resilient_parsing:
        return why
    if not sys.stdin.isatty():
        from dojo.cli.output import fail

        raise fail("--why is missing: give the reason, for the readers of the audit trail", code=2)
    answer: str = typer.prompt("Why", err=True)
    return answer


Why = Annotated[
    str,
    typer.Option(
        "--why",
        "--reason",
        help="The reason. It goes into the audit trail.",
        metavar="TEXT",
        default_factory=not_given,
        show_default=False,
        callback=ask_why,
    ),
]


def operating_system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


Who = Annotated[
    str,
    typer.Option(
        help="Who decides. Default: the user of this machine.",
        metavar="NAME",
        callback=lambda who: who or operating_system_user(),
    ),
]


class CommandContext(Desk):
    """The platform, opened once per command, part by part as the command asks.

    Errors that any command may meet end the command here. So every command gives the same words and
    the same exit code.
    """

    def __enter__(self) -> CommandContext:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if "redis" in self.__dict__:
            self.redis.close()
        if (
            isinstance(error, Exception)
            and not isinstance(error, typer.Exit)
            and (words := self._words_for(error))
        ):
            from dojo.cli.output import fail

            raise fail(words.message, words.next_step, words.code) from error

    def _words_for(self, error: Exception) -> Words | None:
        """None for an error that is a defect.

        The imports stand here, because a command that succeeds needs none of them.
        """
        from redis.exceptions import RedisError

        from dojo.actions.errors import ActionRefusedError, WrongCallError
        from dojo.cli.redis_words import redis_words
        from dojo.core.registry.errors import (
            RegistryUnavailableError,
            UnknownVersionError,
            UnsealedVersionError,
        )
        from dojo.core.registry.promotion import TrafficElsewhereError
        from dojo.core.settings import SettingsError
        from dojo.core.spec.read import SpecError
        from dojo.core.state import bandits, rollouts
        from dojo.core.state.atomic import ConflictError
        from dojo.core.state.clock import ClockNotSetError
        from dojo.core.state.routes import InvalidRouteError

        said = str(error)
        match error:
            case ActionRefusedError():
                return Words(said, error.next_step, 2 if isinstance(error, WrongCallError) else 1)
            case RedisError():
                return Words(*redis_words(error, self.settings))
            case ClockNotSetError():
                return Words(said, "dojo data history")
            case RegistryUnavailableError():
                return Words(said, "Is MLflow running? dojo status")
            case UnsealedVersionError():
                return Words(said, error.next_step)
            case UnknownVersionError():
                return Words(said, "dojo models list")
            case ConflictError():
                return Words(said, "look again")
            case rollouts.NoRolloutError() | rollouts.RequestPendingError():
                return Words(said, "dojo rollout list")
            case bandits.NoBanditError():
                return Words(said, "dojo routes list")
            case (
                SettingsError()
                | SpecError()
                | InvalidRouteError()
                | rollouts.RolloutActiveError()
                | bandits.BanditActiveError()
                | TrafficElsewhereError()
            ):
                return Words(said)
        return None


class Words(NamedTuple):
    """The words that a person reads of an error.

    `code` is the exit code: 1 for a failure, 2 for a wrong call.
    """

    message: str
    next_step: str = ""
    code: int = 1


def confirm(question: object, yes: bool) -> None:
    """Ask on stderr, because stdout is for scripts. Any answer but yes ends the command."""
    if yes:
        return
    typer.echo(question, err=True)
    if not typer.confirm("Do it?", err=True):
        raise typer.Exit(1)
