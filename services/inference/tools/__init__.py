"""Functions that a model may ask the caller to call: shown by the template, held to by a grammar, read from the answer."""
