"""Reading, checking, reducing, splitting and simulating screens."""
