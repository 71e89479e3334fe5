"""The shared language: what services, pipelines and commands agree on."""
