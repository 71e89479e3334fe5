"""Features and training under the public book's protocol."""
