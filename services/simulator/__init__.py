"""The world: who pays where and when, what of it is fraud, and when that becomes known.

source      what a source of transactions is (Protocol); `synthetic` and `replay` are the two
population  customers and merchants of the synthetic world: habits, homes, prices
rhythm      hours and weekdays
fraud       fraud patterns and when their campaigns start
drift       what caused drift does to a day's payments; fraud_drift to its fraudsters, label_drift to its labels
labels      how late each transaction's label arrives
days        a source's days with their outcomes: what happens on a day, and what becomes known on it
history     the past, written to the lake in bulk
live        the present: transactions and outcomes as world time passes
"""
