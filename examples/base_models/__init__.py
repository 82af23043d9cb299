"""The parts of the base-model maker: its text, its tokenizers, its recipes and its training loop."""
