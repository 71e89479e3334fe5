"""The monitor: watches predictions, outcomes and features of every model, and says what it thinks of them (D4, D19, D20).

It counts, exactly once, and judges windows that are over (docs/adr/0013-monitor-windows.md says why it does so this way):

    read or reclaim -> sift -> fold -> one transaction: windows, ids, acknowledgement
    what is due -> measure -> confirm -> one transaction: verdicts, their events, the note that it was judged

`python -m services.monitor` runs it; `dojo drift show` says what it thinks.

    counting    parse.py  fold.py  windows.py  state.py (Redis, lease, transactions)  consumer.py  profiles.py
    measuring   inputs.py (features, scores, flags)  labelled.py (results)  present.py (delays, skew, freshness)
    judging     measured.py (thresholds, chance, confirmation)  judge.py  verdicts.py  due.py  judging.py  champions.py  records.py
    showing     gauges.py  metrics.py  view.py  tuning.py  cli.py
    running     loop.py  __main__.py
"""
