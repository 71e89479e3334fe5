"""The gRPC surface: the Open Inference Protocol V2 on a port of its own."""
