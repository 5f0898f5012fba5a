"""The service log: what happened to the balancer itself, for its operator."""
