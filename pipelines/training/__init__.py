"""From the lake to a trained version. A person or a scheduler can run the steps one by one."""
