"""What a version learns from: collected, checked, split and joined with features."""
