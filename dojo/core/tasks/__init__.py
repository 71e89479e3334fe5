"""What differs between kinds of prediction."""
