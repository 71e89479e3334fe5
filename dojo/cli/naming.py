"""How a person names a model and a version in every command: MODEL, or MODEL@VERSION.

Completion knows both forms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import typer

from dojo.cli.context import CommandContext, not_given
from dojo.cli.output import fail


class NamedVersion(NamedTuple):
    """A model, and the version or alias that stood behind the @."""

    model: str
    version: str


def only_model(ctx: typer.Context, model: str | None) -> str | None:
    """The model of the command, also when the call names none."""
    if model is not None or ctx.resilient_parsing:
        return model
    with CommandContext() as here:
        return here.only_model()


def complete_model(incomplete: str) -> Iterator[str]:
    """The models' names, from the files of their specs."""
    with CommandContext() as here:
        yield from (model for model in here.models if model.startswith(incomplete))


def complete_version(incomplete: str) -> Iterator[str]:
    """MODEL@VERSION for the versions of routes and rollouts.

    It asks Redis only, so a key press costs milliseconds.
    """
    from redis.exceptions import RedisError

    with CommandContext() as here:
        for model in here.models:
            try:
                route, rollout = here.routes.get(model), here.rollouts.get(model)
            except RedisError:
                yield f"{model}@"
                continue
            known = {arm.version for arm in route.arms} if route else set()
            if rollout is not None:
                known |= {rollout.version, rollout.champion}
            yield from (
                name
                for version in sorted(known)
                if (name := f"{model}@{version}").startswith(incomplete)
            )


def model_version(text: str, version: str = "") -> NamedVersion:
    """Read MODEL@VERSION, or MODEL where a version stands elsewhere in the call.

    Args:
        version: Version that an earlier form of the command takes as an argument or option.

    Raises:
        typer.Exit: The version is missing, or is no number. Code 2.
    """
    model, _, behind = text.partition("@")
    number = behind or version
    if not model or not number.isdigit() or (behind and version and behind != version):
        raise fail(
            "expected MODEL@VERSION, for example my_model@2, got"
            f" {' '.join(filter(None, (text, version)))}",
            "dojo models list",
            code=2,
        )
    return NamedVersion(model, number)


ModelArgument = Annotated[
    str,
    typer.Argument(
        help="The model's name. With one model it may be left out.",
        metavar="MODEL",
        default_factory=not_given,
        show_default=False,
        callback=only_model,
        autocompletion=complete_model,
    ),
]

# For commands whose first argument cannot be left out, because others follow it.
RequiredModel = Annotated[
    str, typer.Argument(help="The model's name.", metavar="MODEL", autocompletion=complete_model)
]

# For commands about every model, or one of them.
AnyModel = Annotated[
    str,
    typer.Argument(
        help="The model's name. Without it, every model.",
        metavar="[MODEL]",
        show_default=False,
        autocompletion=complete_model,
    ),
]

VersionArgument = Annotated[
    str,
    typer.Argument(help="The version.", metavar="MODEL@VERSION", autocompletion=complete_version),
]
