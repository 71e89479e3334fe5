"""The rollout controller: moves each challenger from shadow to champion and watches it there, or takes it back.

`evidence` counts what happened to the challenger and the champion, `judgement` compares it with the model's spec, `controller` makes
routes, roles and the stage follow, `loop` does so for every model, round by round, and `__main__` wires them up.
"""
