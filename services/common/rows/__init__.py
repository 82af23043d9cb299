"""Rows of training data: cut from a file, parsed, read in one of four formats, and told apart by what they say.

Here rather than in the trainer because the command line makes rows too, and must read them exactly as training does.
"""
