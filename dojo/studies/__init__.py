"""Long experiments in a smaller town, without servers. Their dated results are kept beside them."""
