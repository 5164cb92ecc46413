"""What notebooks share: start, parameters, claims, figures, provenance; it knows no paper."""
