"""The synthetic town: its customers, shops and payments, and the fraud in them."""
