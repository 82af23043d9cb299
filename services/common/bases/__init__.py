"""Base models as files: where they come from (``sources``) and how they become a model (``loader``)."""
