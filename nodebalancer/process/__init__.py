"""The twistd command, the service tree, signals, the demo."""
