"""What systemd gives us and is told: listening sockets, readiness, signs of life."""
