"""Films and training curves, rendered in a deployment of their own."""
