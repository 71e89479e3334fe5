"""The gateway: predictions over HTTP.

It takes requests, looks up features, scores a version and logs every answer.

    app         composition root: builds the parts from settings and runs their background tasks
    predictor   one request's way: arms, features, scores, answers, events, with fallbacks
    clock       the world's time without waiting for Redis
    state       health, readiness and metrics, of one process or of the whole gateway
    children    what all child processes share: their end, their restarts, their messages

    http/       the surfaces: the prediction API (api) and the Open Inference Protocol V2 (v2)
    messages/   requests, answers and problems (RFC 9457)
    features/   a version's input vector: stored features, circuit breaker, fallback chain
    routing/    the routes in Redis, followed and remembered; shadows off the request path
    versions/   the loaded versions, from the verified local cache or else from the registry
    sandbox/    child processes for versions on trial
    workers/    several processes that serve both ports (DOJO_GATEWAY_WORKERS)
    logging/    events to the event log off the request path; a spool on disk while Redis is away
"""
