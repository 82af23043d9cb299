"""What is let go: bytes that nothing refers to, and what is older than settings say."""
