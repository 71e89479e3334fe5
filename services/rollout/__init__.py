"""The rollout controller: moves each challenger from shadow to champion, and watches it there.

It takes a bad challenger back. `fold` counts events of both versions as evidence.
`dojo/core/judging/rollout` compares the evidence with the model's spec. `controller` changes
routes, roles and the stage. `bandits` moves the shares of bandits. `loop` does this for every model
in rounds. `__main__` wires the parts.
"""
