"""The kinds of prediction: what a spec of each looks like, and what differs between them in training, serving and monitoring."""
