"""From the injection to the end: what is measured, who is paged, and what is undone."""
