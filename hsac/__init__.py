"""hsac: hyperbolic sharpness-aware curvature learning."""
