"""What a training has taught, told after its last step."""
