"""The recipe: one training run, from a task file to a PEFT directory, in a process of its own.

The worker talks to it through ``protocol`` alone, which imports no torch.
"""
