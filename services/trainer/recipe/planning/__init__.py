"""What a training would cost and teach, reckoned before its first step."""
