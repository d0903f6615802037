"""Export a policy: as ONNX, and as a folder in the layout of model hubs."""
