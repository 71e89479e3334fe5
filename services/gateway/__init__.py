"""The gateway: predictions over HTTP. Requests in, features looked up, a version scored, every answer logged.

app             composition root: builds the parts below from settings and runs their background tasks
api, v2         the HTTP surfaces: DESIGN's prediction API, and the Open Inference Protocol V2
requests        bytes -> validated instances; problems: what a refused caller is told (RFC 9457)
predictor       one request's way: features, model, answer, event; each with its fallback
features        a version's input vector from stored and request-time features; the feature fallback chain
online_store    Feast's rows in one Redis round trip, behind a circuit breaker (breaker, redis_client)
models          which version serves: registry poll, verified local cache (model_cache), atomic switch
prediction_log  events to the event log off the request path; spool: on disk while Redis is away
world           the world's time without waiting for Redis
"""
