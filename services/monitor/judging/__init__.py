"""From measurements to verdicts, and the record of what was judged."""
