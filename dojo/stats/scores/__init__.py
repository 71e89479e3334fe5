"""How well a model's scores separate or order rows, and whether they mean what they say."""
