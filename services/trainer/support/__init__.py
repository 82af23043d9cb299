"""What the rooms of the trainer share: processes, threads, outages, places on disk."""
