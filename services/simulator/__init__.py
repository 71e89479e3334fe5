"""The world: payments of customers at shops, the fraud in them, and the arrival of their labels.

sources     the Protocol of a source of transactions, with `synthetic` and `replay`
town        the synthetic world
    population  its customers and merchants: habits, homes, prices
    rhythm      hours and weekdays
    fraud       fraud patterns and when their campaigns start
    fraud_drift what drift does to its fraudsters
drift       what drift does to a day's payments, and to the arrival of their labels
labels      how late each transaction's label arrives
days        a source's days: what happens on a day, and which labels become known on it
history     the past, written to the lake in bulk
live        the present: transactions and outcomes as world time passes
"""
