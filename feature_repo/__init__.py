"""The feature store: every feature defined once.

`catalog` says what each feature is (plain Python, cheap to import), `on_demand` computes request-time features, `definitions`
builds Feast's objects from both, `store` opens Feast on the running Redis and the Parquet offline store.
"""
