"""LoRA: two thin matrices beside each linear layer, trained while the base stays."""
