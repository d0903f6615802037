"""WebSocket sessions that drive: live and frames modes, and their protocol."""
