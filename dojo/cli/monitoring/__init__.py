"""Commands that show the results of monitor and responder, and record a person's judgement."""
