"""What is known of an entity: the online store, and what answers when it does not."""
