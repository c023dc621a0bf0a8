"""What the operator costs: memory and CPU for each model."""
