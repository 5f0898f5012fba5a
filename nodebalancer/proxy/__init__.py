"""What happens on connections: listeners, TCP and HTTP."""
