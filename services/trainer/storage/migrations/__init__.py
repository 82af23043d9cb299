"""The schema ``trainer``, step by step."""
