"""Events into windows of counts, each event once."""
