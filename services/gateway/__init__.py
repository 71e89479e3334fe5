"""The gateway: predictions over HTTP. Requests in, features looked up, a version scored, every answer logged.

app             composition root: builds the parts below from settings and runs their background tasks
api, v2         the HTTP surfaces: DESIGN's prediction API, and the Open Inference Protocol V2
requests        bytes -> validated instances; problems: what a refused caller is told (RFC 9457)
predictor       one request's way: arms, features, scores, answers, events; each with its fallback
scoring         the chosen arm's score, and who stands in when it fails; answers: what is answered, counted and logged
features        a version's input vector from stored and request-time features; the feature fallback chain
online_store    entities' stored rows in one Redis round trip, behind a circuit breaker (breaker, redis_client)

route_table     the routes in Redis, followed and remembered; registry_feed: the registry's champion where there is none
models          from a wanted route to one that serves: versions verified and warm, then one assignment
arms            a route with its versions at hand; serving: one version, trusted here or sandboxed
version_store   where versions come from: the verified local cache (model_cache), else the registry
sandboxes       challengers in processes of their own; sandbox: one, watched (sandbox_link, sandbox_frames; the child: sandbox_worker)
shadow          answered requests scored again by a challenger, off the request path

prediction_log  events to the event log off the request path; spool: on disk while Redis is away
world           the world's time without waiting for Redis
"""
