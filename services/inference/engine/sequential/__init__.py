"""An engine for any causal language model of transformers: one request at a time."""
