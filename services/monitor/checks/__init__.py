"""The checks of a window. Pure, except for the reading of profiles and labels."""
