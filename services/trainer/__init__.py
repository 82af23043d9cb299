"""The trainer: data sets, training jobs, and the workers that run them."""
