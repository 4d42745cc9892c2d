"""The vocabulary every stage shares: models, encodings, layouts, signatures, errors."""
