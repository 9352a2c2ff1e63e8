"""Classification heads on tangent features at the origin."""
