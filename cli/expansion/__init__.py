"""``tenon data expand``: more rows from few, with a model that the suite serves.

``sources`` reads the rows and what an earlier run made of them, ``turns`` knows what of a row is reworded, ``asking`` asks a
model, ``rules`` says which of its answers will do, ``making`` does so for many rows at a time in an order that can be
repeated, and ``result`` writes the file.
"""
