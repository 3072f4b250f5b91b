"""Network inference and its evaluation."""
