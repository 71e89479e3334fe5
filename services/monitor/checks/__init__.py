"""What a window is checked for. Pure but for what reads profiles and labels."""
