"""The trainer's three gRPC services: messages in and out, and nothing else."""
