"""The Python face: a file a stage. What cli and server call."""
