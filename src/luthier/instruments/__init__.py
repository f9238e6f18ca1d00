"""What several stages use. One direction: engine | govern > measure > text > remote."""
