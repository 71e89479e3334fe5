"""From measurements to verdicts, and the record of judged windows."""
