"""The HTTP surface: routes, the Open Inference Protocol, the OpenAPI document."""
