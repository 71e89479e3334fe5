"""What a drill injects. A fault writes its receipt before it acts, and its undo is repeatable."""
