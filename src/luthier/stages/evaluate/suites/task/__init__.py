"""The suite `task`: held-out questions, answered and scored."""
