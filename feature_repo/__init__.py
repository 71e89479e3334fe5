"""The feature store: every feature defined once.

`views` and `services` are the words of definitions, `shop` the shop's, `catalog` all that there are (plain Python, cheap to import).
`windows` computes streaming views, online and offline. `definitions` builds Feast's objects from the catalogue, `store` opens Feast on the
running Redis and the Parquet offline store.
"""
