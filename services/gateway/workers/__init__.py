"""Several processes that serve the gateway's ports together (DOJO_GATEWAY_WORKERS).

    parent   starts and watches the workers, and answers for the whole gateway
    worker   one of them: the application of a single gateway, with its part of the limits
    link     the messages between parent and worker
    whole    what the reports of all workers say together: counts, gauges, health
    folders  where each worker keeps its cache and its spool

A worker that is asked for /metrics, /healthz or /readyz asks the parent. The parent asks all
workers and merges their reports. It also keeps the counts of workers that have ended.
"""
