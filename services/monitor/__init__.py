"""The monitor watches predictions, outcomes and features of every model, and writes verdicts.

It counts each event exactly once and judges finished windows (D4, D19, D20). The reasons for this
design are in docs/adr/0013-monitor-windows.md.

    read or reclaim -> sift -> fold -> one transaction: windows, ids, acknowledgement
    due windows -> measure -> confirm -> one transaction: verdicts, their events, the judged mark

`python -m services.monitor` runs it. `dojo drift show` prints its verdicts.
"""
