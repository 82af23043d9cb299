"""Whether an adapter fits its configuration and its base: checks of bytes, without torch or PEFT.

Trainer, inference and command line use the same ones; docs/architecture.md has their order.
"""
