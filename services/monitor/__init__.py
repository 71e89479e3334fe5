"""The monitor: watches predictions, outcomes and features of every model, and says what it thinks of them (D4, D19, D20).

It counts, exactly once, and judges windows that are over (docs/adr/0013-monitor-windows.md says why it does so this way):

    read or reclaim -> sift -> fold -> one transaction: windows, ids, acknowledgement
    what is due -> measure -> confirm -> one transaction: verdicts, their events, the note that it was judged

`python -m services.monitor` runs it; `dojo drift show` says what it thinks.
"""
