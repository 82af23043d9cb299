"""Questions and answers over real German bank codes."""
