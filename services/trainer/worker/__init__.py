"""The trainer's worker: ``python -m services.trainer.worker``."""
