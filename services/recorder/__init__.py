"""The recorder: every stream of the event log into the Parquet lake, each event exactly once.

The log delivers at least once, and the recorder writes at most once. It acknowledges only messages
that are on disk:

    read or reclaim -> drop what the partition already has -> write, fsync, rename -> acknowledge

Killed before the rename, it wrote nothing. The messages are still pending and come again. Killed
after it, they come again too, and are dropped by their event ids. `python -m services.recorder`
runs it, without arguments.

    deduplicate.py   which events are new, and the event ids that each partition holds
    ownership.py     one recorder per lake
    recorder.py      the steps above, once per call
    pace.py          how long to wait between two files
    loop.py          the steps above as a service (dojo/core/service.py)
    metrics.py       dojo_recorder_*
"""
