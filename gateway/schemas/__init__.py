"""What REST accepts and answers, by resource."""
