"""An emulator of Ably's realtime service. A development and test tool: never Ably, never for production."""
