"""`tenon backup` and `tenon restore`: a whole suite in one file, and back."""
