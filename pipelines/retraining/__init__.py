"""Retraining: from the lake to a registered version, in steps that a person or a scheduler can run one by one.

    collect -> validate -> build_dataset -> train -> evaluate -> log

Each step is one module with one function of the same purpose. Large data goes from step to step by path (a manifest of pinned
lake files, one Parquet dataset), so that steps can run in different processes. `pipeline.run_training` runs them in order;
`reproduce` runs them again from a version's record; `backtest` runs the same features and training under the public book's
protocol. A step that refuses raises a `TrainingRefusedError` that says what was expected and found; then nothing is registered.
"""
