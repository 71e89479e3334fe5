"""The features of an entity: the online store, and the fallbacks when it does not answer."""
