"""Pooling choices, and the exchange of one for another in a network whose weights stay."""
