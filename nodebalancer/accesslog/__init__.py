"""The access log: one line for each request or tcp connection, written where it disturbs nobody."""
