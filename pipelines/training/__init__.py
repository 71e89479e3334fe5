"""From the lake to a trained version, in steps that a person or a scheduler can run one by one."""
