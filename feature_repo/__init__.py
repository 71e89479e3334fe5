"""The feature store: every feature defined once.

`views` and `services` hold the terms of definitions, `shop` the shop's features, `catalog` all
features. The catalogue is plain Python and cheap to import. `windows` computes streaming views,
online and offline. `definitions` builds Feast's objects from the catalogue. `store` opens Feast on
the running Redis and the Parquet offline store.
"""
