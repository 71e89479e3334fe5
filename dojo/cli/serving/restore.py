"""`dojo restore`: after Redis has lost state."""

from __future__ import annotations

from rich.markup import escape

from dojo.actions import losses as actions
from dojo.cli.context import CommandContext, Who, Why, Yes, confirm
from dojo.cli.output import JsonFlag, out, print_json


def restore(why: Why, who: Who = "", yes: Yes = False, as_json: JsonFlag = False) -> None:
    """Let automatic actions go on after Redis has lost state.

    It shows what was lost and what was put back, and asks first.

    Example: dojo restore --why "routes and rollout are as they were"
    """
    with CommandContext() as here:
        plan = actions.plan_restore(here)
        confirm(plan, yes)
        answered = actions.restore(here, plan, who, why)
    if as_json:
        print_json({"loss": answered, "models": plan.standing})
        return
    for standing in plan.standing:
        out.print(escape(str(standing)), highlight=False, soft_wrap=True)
    out.print("Automatic actions go on. What the trail lacks: dojo audit verify", highlight=False)
