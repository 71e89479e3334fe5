"""The world: payments of customers at shops, the fraud in them, and the arrival of their labels.

    sources     the Protocol of a source of transactions, with `synthetic` and `replay`
    town        the synthetic world's customers, merchants, rhythm, payments and fraud
    drift       what drift does to a day's payments, and to the arrival of their labels
    labels      how late each transaction's label arrives
    days        a source's days: what happens on a day, and which labels become known on it
    history     the past, written to the lake in bulk
    live        the present: transactions and outcomes as world time passes

`live` asks the gateway about each payment, through `gateway_client`.
"""
